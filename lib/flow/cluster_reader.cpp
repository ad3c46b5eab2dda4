// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/cluster_reader.h"

#include <algorithm>

#include "lib/flow/cluster_request.h"
#include "lib/flow/time.h"

namespace sluice::flow {
namespace {

constexpr std::uint32_t kBatchBytesMin = 4'096;
// What every node is asked for at least when the last flows are collected.
constexpr std::uint64_t kFewMin = 8;
// A node's clock may be ahead by so much; what is later would be the newest of
// all for as long.
constexpr std::int64_t kAheadMax = 60 * kSecond;
// Memory of an item beside its message.
constexpr std::size_t kItemBytes = 96;

std::size_t size_of(const std::string& message) {
  return message.size() + kItemBytes;
}

std::string away_text(NodeState state) {
  return state == NodeState::kTooOld
             ? "the agent is too old to give flows"
             : "the agent is not connected to an operator";
}

}  // namespace

ClusterReader::ClusterReader(Request request, NextId next_id,
                             ClusterReaderOptions options)
    : request_(std::move(request)),
      next_id_(std::move(next_id)),
      options_(std::move(options)),
      started_(now()),
      news_(options_.name) {}

Result<ClusterReader> ClusterReader::open(
    Request request, const std::map<std::string, NodeView>& nodes,
    NextId next_id, const ClusterReaderOptions& options,
    Clock::time_point now) {
  auto mask = prepare_request(request, options);
  if (!mask) {
    return std::unexpected(mask.error());
  }
  ClusterReader reader(std::move(request), std::move(next_id), options);
  reader.mask_ = std::move(*mask);
  reader.begin(nodes, now);
  return reader;
}

void ClusterReader::begin(const std::map<std::string, NodeView>& nodes,
                          Clock::time_point now) {
  const auto& flows = request_.flows;
  until_ = flows.has_until() ? nanoseconds(flows.until()) : 0;
  follow_ = flows.follow();
  left_ = flows.number();
  bounded_ = flows.number() > 0 && !follow_;
  if (flows.number() > 0 && !flows.first() && !flows.has_since()) {
    newest_.emplace(flows.number(), options_.bytes_max);
  }
  const auto connected = static_cast<std::size_t>(
      std::ranges::count_if(nodes, [](const auto& node) {
        return node.second.state == NodeState::kConnected;
      }));
  make_requests(connected);
  for (const auto& [node, view] : nodes) {
    const auto place = add_source(node);
    sources_[place].view = view;
    if (view.state == NodeState::kConnected) {
      request(place, first_, Phase::kPast, now);
      tell(place, ::relay::NODE_CONNECTED);
    } else {
      tell(place, ::relay::NODE_UNAVAILABLE, away_text(view.state));
    }
  }
}

// The last flows are found here, and only then cut at `until`.
void ClusterReader::make_requests(std::size_t nodes) {
  const auto share = options_.bytes_max / 2 / std::max<std::size_t>(nodes, 1);
  batch_bytes_ = static_cast<std::uint32_t>(
      std::clamp<std::size_t>(share, kBatchBytesMin, wire::kFlowBatchBytesMax));
  auto flows = request_.flows;
  if (newest_) {
    flows.clear_until();
  }
  all_ = make_request(flows);
  first_ = all_;
  if (newest_ && !follow_ && nodes > 0) {
    few_ = std::max<std::uint64_t>(kFewMin, 2 * flows.number() / nodes);
    if (few_ < flows.number()) {
      flows.set_number(few_);
      first_ = make_request(flows);
    }
  }
}

std::shared_ptr<const wire::FlowRequest> ClusterReader::make_request(
    const ::observer::GetFlowsRequest& flows) const {
  return std::make_shared<const wire::FlowRequest>(
      wire::FlowRequest{.id = 0,
                        .kind = wire::FlowKind::kFlows,
                        .request = flows.SerializeAsString(),
                        .batch_bytes = batch_bytes_,
                        .namespaces = request_.namespaces});
}

bool ClusterReader::is_waited_for(const Source& source) {
  return source.phase == Phase::kPast && source.items.empty();
}

// Before (-1) and after (1) a change of a source's phase or items.
void ClusterReader::count(const Source& source, int sign) {
  past_ += source.phase == Phase::kPast ? sign : 0;
  waiting_ += is_waited_for(source) ? sign : 0;
}

void ClusterReader::set_phase(std::size_t place, Phase phase) {
  count(sources_[place], -1);
  sources_[place].phase = phase;
  count(sources_[place], 1);
}

std::size_t ClusterReader::add_source(const std::string& node) {
  const auto place = sources_.size();
  sources_.emplace_back().node = node;
  by_node_[node] = place;
  return place;
}

void ClusterReader::request(
    std::size_t place, const std::shared_ptr<const wire::FlowRequest>& what,
    Phase phase, Clock::time_point now) {
  auto& source = sources_[place];
  source.id = next_id_();
  set_phase(place, phase);
  source.asked = true;
  source.asked_at = now;
  source.given = 0;
  source.late = false;
  ++asked_;
  by_id_[source.id] = place;
  commands_.push_back({.node = source.node, .id = source.id, .request = what});
}

void ClusterReader::ask_more(std::size_t place, Clock::time_point now) {
  auto& source = sources_[place];
  if (source.id == 0 || source.asked) {
    return;
  }
  source.asked = true;
  source.asked_at = now;
  ++asked_;
  commands_.push_back(
      {.node = source.node, .id = source.id, .request = nullptr});
}

// While there is room.
void ClusterReader::ask_starved(Clock::time_point now) {
  while (!starved_.empty() &&
         bytes_ + ((asked_ + 1) * batch_bytes_) <= options_.bytes_max) {
    auto& source = sources_[starved_.front()];
    source.starved = false;
    ask_more(starved_.front(), now);
    starved_.pop_front();
  }
}

// The request of a source has ended at the other end.
void ClusterReader::finish(std::size_t place, Phase phase) {
  auto& source = sources_[place];
  if (source.id != 0) {
    by_id_.erase(source.id);
    source.id = 0;
  }
  asked_ -= std::exchange(source.asked, false) ? 1 : 0;
  set_phase(place, phase);
}

// Ends it.
void ClusterReader::stop(std::size_t place, Phase phase) {
  auto& source = sources_[place];
  if (source.id != 0) {
    commands_.push_back({.node = source.node,
                         .id = source.id,
                         .request = nullptr,
                         .cancel = true});
  }
  finish(place, phase);
}

void ClusterReader::close() {
  for (std::size_t place = 0; place < sources_.size(); ++place) {
    stop(place, Phase::kDone);
  }
  ended_ = true;
}

std::vector<NodeCommand> ClusterReader::take_commands() {
  return std::exchange(commands_, {});
}

// A node comes, or comes back: it goes on where it was interrupted, or where
// the client began.
void ClusterReader::join(std::size_t place, Clock::time_point now) {
  const auto& source = sources_[place];
  ::observer::GetFlowsRequest flows = request_.flows;
  flows.set_number(0);
  set_time(source.newest != 0 ? source.newest + 1 : started_,
           *flows.mutable_since());
  request(place, make_request(flows), Phase::kPresent, now);
}

void ClusterReader::on_node(const std::string& node, const NodeView& view,
                            Clock::time_point now) {
  const auto state = view.state;
  const auto found = by_node_.find(node);
  const bool fresh = found == by_node_.end();
  if (ended_ || (fresh && (!follow_ || state == NodeState::kGone)) ||
      (!fresh && sources_[found->second].view.generation >= view.generation)) {
    return;
  }
  const auto place = fresh ? add_source(node) : found->second;
  auto& source = sources_[place];
  const bool interrupted = source.id != 0;
  const auto before = std::exchange(source.view, view).state;
  if (interrupted) {
    // The request may not have been sent yet, and be for the new connection.
    stop(place, Phase::kAway);
  }
  if (source.phase == Phase::kDone) {
    return;  // it has given everything
  }
  if (state == NodeState::kConnected && follow_) {
    join(place, now);
    tell(place, ::relay::NODE_CONNECTED);
  } else if (state == NodeState::kGone) {
    tell(place, ::relay::NODE_GONE);
  } else if (interrupted) {
    tell(place, ::relay::NODE_UNAVAILABLE, "its connection was interrupted");
  } else if (state != NodeState::kConnected && (fresh || before != state)) {
    tell(place, ::relay::NODE_UNAVAILABLE, away_text(state));
  }
}

void ClusterReader::on_lost(std::uint64_t id) {
  const auto found = by_id_.find(id);
  if (found != by_id_.end()) {
    const auto place = found->second;
    sources_[place].view.state = NodeState::kAway;
    tell(place, ::relay::NODE_UNAVAILABLE, away_text(NodeState::kAway));
    finish(place, Phase::kAway);
  }
}

// What a node sends may be anything.
bool ClusterReader::is_valid(const Source& source,
                             const wire::FlowBatch& batch) const {
  std::size_t bytes = 0;
  for (const auto& item : batch.items) {
    if (bytes >= batch_bytes_ ||
        item.message.size() > wire::kFlowBatchBytesMax) {
      return false;
    }
    bytes += item.message.size();
  }
  return source.asked && batch.items.size() <= wire::kFlowBatchItemsMax;
}

void ClusterReader::on_batch(wire::FlowBatch batch, Clock::time_point now) {
  const auto found = by_id_.find(batch.id);
  if (found == by_id_.end()) {
    return;
  }
  const auto place = found->second;
  auto& source = sources_[place];
  if (!is_valid(source, batch)) {
    tell(place, ::relay::NODE_ERROR,
         "the agent sent a batch that nobody asked for");
    stop(place, Phase::kAway);
    return;
  }
  const auto latest = flow::now() + kAheadMax;
  for (auto& item : batch.items) {
    item.time = std::clamp<std::int64_t>(item.time, 0, latest);
  }
  source.asked = false;
  --asked_;
  if (std::exchange(source.late, false)) {
    tell(place, ::relay::NODE_CONNECTED);
  }
  if (batch.lost > 0) {
    news_.tell_lost(place, source.node, batch.lost, source.newest,
                    batch.items.empty() ? 0 : batch.items.back().time);
  }
  take_items(place, batch, now);
  if (batch.code != 0) {
    tell(place, ::relay::NODE_ERROR, batch.error);
  }
  if (batch.last) {
    finish(place, batch.code == 0 ? Phase::kDone : Phase::kAway);
    return;
  }
  if (batch.caught_up && follow_) {
    set_phase(place, Phase::kPresent);
  }
  if (source.items.empty()) {
    ask_more(place, now);
  } else if (!std::exchange(source.starved, true)) {
    starved_.push_back(place);
    ask_starved(now);
  }
}

void ClusterReader::take_items(std::size_t place, wire::FlowBatch& batch,
                               Clock::time_point now) {
  auto& source = sources_[place];
  if (batch.items.empty()) {
    return;
  }
  if (newest_ && source.again && source.given == 0) {
    newest_->remove(place);  // they come again
  }
  source.oldest = source.given == 0 ? batch.items.front().time : source.oldest;
  source.given += batch.items.size();
  for (const auto& item : batch.items) {
    source.newest = std::max(source.newest, item.time);
  }
  if (newest_) {
    collect(place, batch);
  } else {
    enqueue(place, batch, now);
  }
}

void ClusterReader::collect(std::size_t place, wire::FlowBatch& batch) {
  for (auto& item : batch.items) {
    newest_->add({.time = item.time,
                  .node = place,
                  .number = sources_[place].number++,
                  .message = std::move(item.message)});
  }
}

void ClusterReader::enqueue(std::size_t place, wire::FlowBatch& batch,
                            Clock::time_point now) {
  auto& source = sources_[place];
  count(source, -1);
  if (source.items.empty()) {
    heads_.emplace(batch.items.front().time, place);
    arrivals_.emplace(now, place);
  }
  for (auto& item : batch.items) {
    bytes_ += size_of(item.message);
    source.items.push_back({.time = item.time,
                            .message = std::move(item.message),
                            .arrived = now});
  }
  count(source, 1);
}

ClusterReader::Item ClusterReader::pop(std::size_t place,
                                       Clock::time_point now) {
  auto& source = sources_[place];
  count(source, -1);
  auto item = std::move(source.items.front());
  source.items.pop_front();
  count(source, 1);
  heads_.erase({item.time, place});
  arrivals_.erase({item.arrived, place});
  bytes_ -= size_of(item.message);
  if (source.items.empty()) {
    // At once: the others may have to wait for it.
    ask_more(place, now);
  } else {
    heads_.emplace(source.items.front().time, place);
    arrivals_.emplace(source.items.front().arrived, place);
  }
  ask_starved(now);
  return item;
}

void ClusterReader::tell(std::size_t place, ::relay::NodeState state,
                         const std::string& why) {
  news_.tell(place, sources_[place].node, state, why);
}

bool ClusterReader::waits_for_past(Clock::time_point now) {
  if (waiting_ == 0) {
    return false;
  }
  auto until = Clock::time_point::max();
  for (std::size_t place = 0; place < sources_.size(); ++place) {
    const auto& source = sources_[place];
    if (!is_waited_for(source)) {
      continue;
    }
    if (now >= source.asked_at + options_.patience) {
      give_up(place);
    } else {
      until = std::min(until, source.asked_at + options_.patience);
    }
  }
  wake_at_ = std::min(wake_at_, until);
  return waiting_ > 0;
}

// A node has not answered in time.
void ClusterReader::give_up(std::size_t place) {
  tell(place, ::relay::NODE_UNAVAILABLE,
       "the agent has not answered within " +
           std::to_string(options_.patience.count()) + " ms");
  if (follow_) {
    set_phase(place, Phase::kPresent);
    sources_[place].late = true;
  } else {
    stop(place, Phase::kAway);
  }
}

// Asks the nodes that may have more of the newest flows than they were asked
// for. False if there is none.
bool ClusterReader::ask_again(Clock::time_point now) {
  bool any = false;
  for (std::size_t place = 0; place < sources_.size(); ++place) {
    auto& source = sources_[place];
    if (source.phase == Phase::kDone && !source.again && first_ != all_ &&
        source.given >= few_ &&
        (newest_->has_room() || source.oldest > newest_->oldest())) {
      source.again = true;
      request(place, all_, Phase::kPast, now);
      any = true;
    }
  }
  return any;
}

// True if the last flows are there.
bool ClusterReader::collected(Clock::time_point now) {
  if (waits_for_past(now)) {
    return false;
  }
  if (!follow_ && ask_again(now)) {
    return collected(now);
  }
  cut_ = newest_->cut();
  auto last = newest_->take();
  last_.assign(std::make_move_iterator(last.begin()),
               std::make_move_iterator(last.end()));
  newest_.reset();
  return true;
}

// When the first of all first flows has waited for long enough, those that are
// older go on.
std::optional<std::pair<std::size_t, ClusterReader::Item>>
ClusterReader::take_present(Clock::time_point now) {
  if (heads_.empty()) {
    return std::nullopt;
  }
  const auto due = arrivals_.begin()->first + options_.hold;
  if (now < due) {
    wake_at_ = std::min(wake_at_, due);
    return std::nullopt;
  }
  const auto place = heads_.begin()->second;
  return std::pair{place, pop(place, now)};
}

std::optional<std::pair<std::size_t, ClusterReader::Item>>
ClusterReader::take_next(Clock::time_point now) {
  if (!last_.empty()) {
    auto item = std::move(last_.front());
    last_.pop_front();
    return std::pair{item.node, Item{.time = item.time,
                                     .message = std::move(item.message),
                                     .arrived = now}};
  }
  if (waits_for_past(now)) {
    return std::nullopt;
  }
  if (follow_ && past_ == 0) {
    return take_present(now);
  }
  if (heads_.empty()) {
    return std::nullopt;
  }
  const auto place = heads_.begin()->second;
  return std::pair{place, pop(place, now)};
}

bool ClusterReader::all_over(Clock::time_point now) {
  if (!heads_.empty()) {
    return false;
  }
  if (!follow_) {
    return by_id_.empty();
  }
  if (until_ == 0) {
    return false;
  }
  // Nodes that are away may come back until then.
  const auto left = until_ - flow::now();
  if (left < 0) {
    return true;
  }
  wake_at_ = std::min(wake_at_, now + std::chrono::nanoseconds(left + 1));
  return false;
}

void ClusterReader::drop_items(std::size_t place) {
  auto& source = sources_[place];
  std::erase_if(last_,
                [&](const Newest::Item& item) { return item.node == place; });
  if (source.items.empty()) {
    return;
  }
  heads_.erase({source.items.front().time, place});
  arrivals_.erase({source.items.front().arrived, place});
  for (const auto& item : source.items) {
    bytes_ -= size_of(item.message);
  }
  source.items.clear();
}

// False if the message is none that this node may send.
bool ClusterReader::emit(std::size_t place, const std::string& message,
                         ::observer::GetFlowsResponse& response) {
  const auto& source = sources_[place];
  if (!response.ParseFromString(message) || !response.has_flow() ||
      !has_end_in(response.flow(), request_.namespaces)) {
    tell(place, ::relay::NODE_ERROR, "the agent sent an invalid flow");
    stop(place, Phase::kAway);
    drop_items(place);
    return false;
  }
  response.set_node_name(source.node);
  response.mutable_flow()->set_node_name(source.node);
  mask_.apply(*response.mutable_flow());
  return true;
}

ClusterReader::Step ClusterReader::next(::observer::GetFlowsResponse& response,
                                        Clock::time_point now) {
  wake_at_ = Clock::time_point::max();
  while (!ended_) {
    waits_for_past(now);  // tells of those that are late
    if (news_.take(response)) {
      return Step::kMessage;
    }
    if (newest_ && !collected(now)) {
      return Step::kWait;
    }
    if (cut_ > 0) {
      write_lost({.count = std::exchange(cut_, 0), .time = flow::now()},
                 options_.name, response);
      return Step::kMessage;
    }
    if (bounded_ && left_ == 0) {
      break;
    }
    const auto item = take_next(now);
    if (!item) {
      if (all_over(now)) {
        break;
      }
      return Step::kWait;
    }
    if (until_ != 0 && item->second.time > until_) {
      break;
    }
    if (emit(item->first, item->second.message, response)) {
      left_ -= bounded_ ? 1 : 0;
      return Step::kMessage;
    }
  }
  close();
  return Step::kEnd;
}

}  // namespace sluice::flow
