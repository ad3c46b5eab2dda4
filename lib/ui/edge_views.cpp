// SPDX-License-Identifier: Apache-2.0
#include "lib/ui/edge_views.h"

#include <algorithm>
#include <utility>

#include "relay.pb.h"

namespace sluice::ui {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kViewsMax = 8;
// About half a kilobyte each.
constexpr std::size_t kEdgesMax = 8'192;

}  // namespace

void FeedNotes::take(const ::observer::GetFlowsResponse& response) {
  if (response.has_lost_events()) {
    lost += response.lost_events().num_events_lost();
  }
  const auto& status = response.node_status();
  for (const auto& node : status.node_names()) {
    if (status.state_change() == ::relay::NODE_UNAVAILABLE ||
        status.state_change() == ::relay::NODE_ERROR) {
      away[node] = status.message();
    } else {
      away.erase(node);
    }
  }
}

Result<void> EdgeViews::choose(const EdgeQuery& query) {
  std::erase_if(views_, [](const EdgeView& view) { return view.ended; });
  const auto found =
      std::ranges::find(views_, query.filters, &EdgeView::filters);
  if (found != views_.end()) {
    views_.splice(views_.begin(), views_, found);
    return {};
  }
  auto feed = sources_->open(query.request);
  if (!feed) {
    return std::unexpected(feed.error());
  }
  views_.push_front({.id = next_++,
                     .filters = query.filters,
                     .feed = std::move(*feed),
                     .table = EdgeTable(kEdgesMax)});
  if (views_.size() > kViewsMax) {
    views_.pop_back();
  }
  return {};
}

Result<EdgeView*> EdgeViews::read(const EdgeQuery& query,
                                  std::chrono::milliseconds patience) {
  const auto until = Clock::now() + patience;
  if (auto chosen = choose(query); !chosen) {
    return std::unexpected(chosen.error());
  }
  auto& view = views_.front();
  view.caught_up = false;
  ::observer::GetFlowsResponse response;
  do {
    const auto step = view.feed->next(response);
    if (step == FlowFeed::Step::kMessage) {
      if (response.flow().has_traffic()) {
        continue;  // it has been counted when it began
      }
      if (response.has_flow()) {
        view.table.add(response.flow());
      } else {
        view.notes.take(response);
      }
    } else if (step != FlowFeed::Step::kBusy) {
      view.caught_up = true;
      view.ended = step == FlowFeed::Step::kEnd;
    }
  } while (!view.caught_up && Clock::now() < until);
  view.problem = view.ended ? view.feed->problem() : std::string{};
  return &view;
}

}  // namespace sluice::ui
