// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/node_feeds.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "lib/wire/codec.h"

namespace sluice::wire {

NodeFeeds::NodeFeeds(const ServerOptions& options,
                     std::shared_ptr<StreamEvents> events)
    : events_(std::move(events)),
      pending_changes_max_(options.pending_changes_max),
      unacknowledged_max_(options.unacknowledged_max),
      snapshots_max_(options.snapshots_max) {}

NodeFeeds::Node* NodeFeeds::find(const std::string& name) {
  const auto found = nodes_.find(name);
  return found == nodes_.end() ? nullptr : &found->second;
}

bool NodeFeeds::is_current(const Stream& stream) const {
  return stream_of(stream.notes.node).get() == &stream;
}

std::shared_ptr<Stream> NodeFeeds::stream_of(const std::string& node) const {
  const auto found = nodes_.find(node);
  return found == nodes_.end() ? nullptr : found->second.stream;
}

std::size_t NodeFeeds::connected() const {
  return static_cast<std::size_t>(std::ranges::count_if(
      nodes_, [](const auto& item) { return item.second.stream != nullptr; }));
}

std::shared_ptr<Stream> NodeFeeds::detach(const std::string& node) {
  auto* found = find(node);
  if (found == nullptr || !found->stream) {
    return nullptr;
  }
  snapshot_over(*found);
  return std::exchange(found->stream, nullptr);
}

bool NodeFeeds::attach(const std::shared_ptr<Stream>& stream,
                       v1::Welcome welcome) {
  auto& notes = stream->notes;
  auto& node = nodes_[notes.node];
  if (!node.outbox) {
    node.outbox =
        std::make_shared<Outbox>(pending_changes_max_, unacknowledged_max_);
  }
  node.stream = stream;
  bool resumed = false;
  {
    const std::lock_guard lock(node.outbox->mutex);
    resumed = !node.needs_snapshot &&
              node.outbox->backlog.resume(notes.hello.origin(),
                                          notes.hello.revision());
    node.outbox->settings_due = true;
    node.outbox->settings_next = false;
    node.outbox->answers.clear();
    node.outbox->flows.clear();
  }
  welcome.set_resumed(resumed);
  stream->subscribe(node.outbox, std::move(welcome));
  stream->read();
  if (!resumed) {
    notes.will_announce = notes.hello.version().minor() >= kAnnouncementsSince;
    need_snapshot(notes.node, node);
  }
  return resumed;
}

void NodeFeeds::forget_at(Clock::time_point when, const std::string& node) {
  if (auto* found = find(node)) {
    found->forget_at = when;
    forget_at_.add(when, node);
  }
}

void NodeFeeds::run_timers(
    Clock::time_point now,
    const std::function<void(const std::string&)>& forgotten) {
  forget_at_.run(now, [&](const std::string& name, Clock::time_point when) {
    const auto* node = find(name);
    if (node != nullptr && !node->stream && node->forget_at == when) {
      nodes_.erase(name);
      forgotten(name);
    }
  });
}

// Agents announce their pods after each Welcome. A snapshot without pods that
// are known by their announcement only would end what is in force for them.
void NodeFeeds::need_snapshot(const std::string& name, Node& node) {
  node.needs_snapshot = true;
  if (!node.queued && !node.asked && node.stream &&
      !node.stream->notes.will_announce) {
    node.queued = true;
    snapshot_queue_.push_back(name);
    events_->poller().notify();
  }
}

void NodeFeeds::need_snapshot(const std::string& node) {
  if (auto* found = find(node)) {
    need_snapshot(node, *found);
  }
}

void NodeFeeds::snapshot_over(Node& node) {
  if (std::exchange(node.asked, false)) {
    --snapshots_active_;
  }
}

void NodeFeeds::snapshot_sent(const Stream& stream) {
  if (!is_current(stream)) {
    return;
  }
  auto& node = *find(stream.notes.node);
  snapshot_over(node);
  if (node.needs_snapshot) {
    need_snapshot(stream.notes.node, node);
  }
}

std::optional<std::string> NodeFeeds::next_snapshot() {
  while (snapshots_active_ < snapshots_max_ && !snapshot_queue_.empty()) {
    auto name = std::move(snapshot_queue_.front());
    snapshot_queue_.pop_front();
    auto* node = find(name);
    if (node == nullptr) {
      continue;
    }
    node->queued = false;
    if (!node->stream || !node->needs_snapshot || node->asked) {
      continue;
    }
    node->asked = true;
    ++snapshots_active_;
    return name;
  }
  return std::nullopt;
}

NodeFeeds::Acknowledged NodeFeeds::acknowledge(const Stream& stream,
                                               std::uint64_t origin,
                                               std::uint64_t revision) {
  auto& outbox = *find(stream.notes.node)->outbox;
  const std::lock_guard lock(outbox.mutex);
  const bool current = origin != 0 && origin == outbox.backlog.origin();
  return {.known = outbox.backlog.acknowledge(origin, revision),
          .current = current};
}

void NodeFeeds::send_snapshot(const std::string& node, std::uint64_t revision,
                              std::shared_ptr<const State> state) {
  auto* found = find(node);
  if (found == nullptr || !found->stream) {
    return;
  }
  std::uniform_int_distribution<std::uint64_t> any(1);
  {
    const std::lock_guard lock(found->outbox->mutex);
    found->outbox->backlog.replace(any(random_), revision, std::move(state));
  }
  found->needs_snapshot = false;
  found->stream->pump();
}

void NodeFeeds::send(const std::string& node,
                     std::shared_ptr<const Transaction> transaction) {
  auto* found = find(node);
  if (found == nullptr || found->needs_snapshot) {
    return;
  }
  auto added = Backlog::Added::kAlone;
  {
    const std::lock_guard lock(found->outbox->mutex);
    added = found->outbox->backlog.add(std::move(transaction));
  }
  if (added == Backlog::Added::kTooMuch) {
    need_snapshot(node, *found);
    return;
  }
  merged_ += added == Backlog::Added::kMerged ? 1 : 0;
  if (found->stream) {
    found->stream->pump();
  }
}

void NodeFeeds::set_on_unknown(const std::string& node, OnUnknown value) {
  auto* found = find(node);
  if (found == nullptr) {
    return;
  }
  {
    const std::lock_guard lock(found->outbox->mutex);
    if (std::exchange(found->outbox->on_unknown, value) == value) {
      return;
    }
    found->outbox->settings_due = true;
    found->outbox->settings_next = false;
  }
  if (found->stream) {
    found->stream->pump();
  }
}

// An agent that reads nothing gets no further answers until it does.
void NodeFeeds::answer(const std::string& node, const Answer& answer) {
  constexpr std::size_t kAnswersMax = 16;
  auto* found = find(node);
  if (found == nullptr || !found->stream) {
    return;
  }
  {
    const std::lock_guard lock(found->outbox->mutex);
    if (found->outbox->answers.size() >= kAnswersMax) {
      return;
    }
    found->outbox->answers.push_back(encode(answer));
  }
  found->stream->pump();
}

bool NodeFeeds::request_flows(const std::string& node, std::uint64_t id,
                              std::shared_ptr<const FlowRequest> request) {
  auto* found = find(node);
  if (found == nullptr || !found->stream ||
      found->stream->notes.hello.version().minor() < kFlowsSince) {
    return false;
  }
  {
    const std::lock_guard lock(found->outbox->mutex);
    found->outbox->flows.push_back({.control = {.id = id, .cancel = false},
                                    .request = std::move(request)});
  }
  found->stream->pump();
  return true;
}

// A request that has not been sent goes with its cancellation, so that nothing
// grows for an agent that reads nothing.
void NodeFeeds::control_flows(const std::string& node,
                              const FlowControl& control) {
  auto* found = find(node);
  if (found == nullptr || !found->stream) {
    return;
  }
  {
    const std::lock_guard lock(found->outbox->mutex);
    auto& waiting = found->outbox->flows;
    bool sent = true;
    if (control.cancel) {
      std::erase_if(waiting, [&](const Outbox::AboutFlows& about) {
        const bool same = about.control.id == control.id;
        sent = sent && !(same && about.request);
        return same;
      });
    }
    if (sent) {
      waiting.push_back({.control = control, .request = nullptr});
    }
  }
  found->stream->pump();
}

}  // namespace sluice::wire
