// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/cursor.h"

#include <algorithm>
#include <ranges>
#include <utility>

#include "lib/flow/lost_events.h"
#include "lib/flow/message.h"
#include "lib/flow/time.h"

namespace sluice::flow {
namespace {

constexpr std::size_t kBatch = 256;  // records that are read at once
// Records that are looked at in one step. The most expensive filters that are
// possible take a few milliseconds for one.
constexpr std::size_t kStep = 64;

std::vector<const ::flow::FlowFilter*> pointers(
    const google::protobuf::RepeatedPtrField<::flow::FlowFilter>& filters) {
  std::vector<const ::flow::FlowFilter*> result;
  result.reserve(static_cast<std::size_t>(filters.size()));
  for (const auto& filter : filters) {
    result.push_back(&filter);
  }
  return result;
}

}  // namespace

Result<void> check_filters(const ::observer::GetFlowsRequest& request) {
  return Filters::check_size(pointers(request.whitelist()),
                             pointers(request.blacklist()));
}

Result<Filters> compile_filters(const ::observer::GetFlowsRequest& request,
                                const std::string& node) {
  return Filters::compile(pointers(request.whitelist()),
                          pointers(request.blacklist()), node);
}

FlowCursor::FlowCursor(const Store& store,
                       const ::observer::GetFlowsRequest& request,
                       Filters filters, FlowMask mask, std::string node)
    : store_(&store),
      filters_(std::move(filters)),
      mask_(std::move(mask)),
      node_(std::move(node)),
      left_(request.number()),
      until_(request.has_until() ? nanoseconds(request.until()) : 0),
      bounded_(request.number() > 0 && !request.follow()),
      follow_(request.follow()) {
  find_beginning(request);
}

Result<FlowCursor> FlowCursor::open(
    const Store& store, const ::observer::GetFlowsRequest& request,
    const std::string& node, const std::vector<std::string>& namespaces) {
  if (request.first() && request.follow()) {
    return fail("first and follow cannot be combined");
  }
  auto filters = compile_filters(request, node);
  if (!filters) {
    return std::unexpected(filters.error());
  }
  filters->restrict_to(namespaces);
  auto mask = FlowMask::parse(request.field_mask());
  if (!mask) {
    return std::unexpected(mask.error());
  }
  return FlowCursor(store, request, std::move(*filters), std::move(*mask),
                    node);
}

void FlowCursor::find_beginning(const ::observer::GetFlowsRequest& request) {
  if (request.has_since()) {
    place_ = store_->since(nanoseconds(request.since()));
    return;
  }
  place_ = store_->first();
  if (request.first() || (request.number() == 0 && !request.follow())) {
    return;
  }
  place_ = store_->next();
  searched_ = place_;
  wanted_ = request.number();
}

// The last flows that match are looked for from the newest record on.
void FlowCursor::search_back() {
  const auto end = searched_;
  const auto first = store_->first();
  searched_ = end - std::min<std::uint64_t>(end - std::min(first, end), kStep);
  const auto read = store_->read(searched_, end - searched_);
  for (const auto& record : read.records | std::views::reverse) {
    if (record.number < end && record.lost == 0 && filters_.match(record)) {
      place_ = record.number;
      if (--wanted_ == 0) {
        return;
      }
    }
  }
  if (searched_ <= first) {
    wanted_ = 0;
  }
}

FlowCursor::Step FlowCursor::next(::observer::GetFlowsResponse& response) {
  response.Clear();
  if (wanted_ > 0) {
    search_back();
    return Step::kBusy;
  }
  return read_on(response);
}

FlowCursor::Step FlowCursor::refill() {
  auto read = store_->read(place_, kBatch);
  place_ = read.next;
  lost_ = read.lost;
  if (read.records.empty()) {
    const bool over = !follow_ || (until_ != 0 && now() > until_);
    return over ? Step::kEnd : Step::kWait;
  }
  records_.assign(std::make_move_iterator(read.records.begin()),
                  std::make_move_iterator(read.records.end()));
  return Step::kBusy;
}

bool FlowCursor::give(const Record& record,
                      ::observer::GetFlowsResponse& response) {
  if (record.lost > 0) {
    write_lost({.source = ::flow::PERF_EVENT_RING_BUFFER,
                .count = record.lost,
                .first = record.lost_since,
                .last = record.time,
                .time = record.time},
               node_, response);
    return true;
  }
  if (!filters_.match(record)) {
    return false;
  }
  left_ -= bounded_ ? 1 : 0;
  *response.mutable_flow() = to_message(record, node_);
  mask_.apply(*response.mutable_flow());
  response.set_node_name(node_);
  set_time(record.time, *response.mutable_time());
  return true;
}

FlowCursor::Step FlowCursor::read_on(::observer::GetFlowsResponse& response) {
  for (std::size_t looked = 0; looked < kStep;) {
    if (lost_ > 0) {
      write_lost({.count = std::exchange(lost_, 0),
                  .first = read_until_,
                  .last = records_.empty() ? 0 : records_.front().time,
                  .time = now()},
                 node_, response);
      return Step::kMessage;
    }
    if (bounded_ && left_ == 0) {
      return Step::kEnd;
    }
    if (records_.empty()) {
      if (const auto step = refill(); step != Step::kBusy) {
        return step;
      }
      continue;
    }
    ++looked;
    const Record record = std::move(records_.front());
    records_.pop_front();
    read_until_ = record.time;
    if (until_ != 0 && record.time > until_) {
      return Step::kEnd;
    }
    if (give(record, response)) {
      return Step::kMessage;
    }
  }
  return Step::kBusy;
}

}  // namespace sluice::flow
