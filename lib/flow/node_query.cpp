// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/node_query.h"

#include <utility>

namespace sluice::flow {
namespace {

// Of one node's answer; one that is longer is left out.
constexpr std::size_t kAnswerBytesMax = 4 << 20;

}  // namespace

std::shared_ptr<NodeQuery> NodeQuery::create(Cluster& cluster,
                                             wire::FlowKind kind,
                                             std::string request, Done done) {
  return std::make_shared<NodeQuery>(
      cluster,
      wire::FlowRequest{.id = 0,
                        .kind = kind,
                        .request = std::move(request),
                        .batch_bytes = wire::kFlowBatchBytesMax,
                        .namespaces = {}},
      std::move(done));
}

NodeQuery::NodeQuery(Cluster& cluster, wire::FlowRequest request, Done done)
    : cluster_(cluster),
      seat_(cluster),
      request_(std::make_shared<const wire::FlowRequest>(std::move(request))),
      done_(std::move(done)) {}

void NodeQuery::start(Gate* gate, const std::string& authorization) {
  if (gate == nullptr) {
    admitted(root_admission());
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    if (auto taken = seat_.take(""); !taken) {
      finish({grpc::StatusCode::RESOURCE_EXHAUSTED, taken.error().message});
      return;
    }
  }
  gate->admit(authorization, {},
              [weak = weak_from_this()](const Admission& admission) {
                if (const auto query = weak.lock()) {
                  query->admitted(admission);
                }
              });
}

void NodeQuery::admitted(const Admission& admission) {
  const std::lock_guard lock(mutex_);
  if (ended_ || begun_) {
    return;
  }
  if (!admission.status.ok()) {
    finish(admission.status);
  } else if (!admission.everything) {
    finish({grpc::StatusCode::PERMISSION_DENIED, admission.missing});
  } else if (auto taken = seat_.take(admission.user); !taken) {
    finish({grpc::StatusCode::RESOURCE_EXHAUSTED, taken.error().message});
  } else {
    begin();
  }
}

void NodeQuery::begin() {
  begun_ = true;
  answers_.nodes = cluster_.add(shared_from_this());
  until_ = Clock::now() + cluster_.options().patience;
  std::vector<NodeCommand> commands;
  for (const auto& [node, view] : answers_.nodes) {
    if (view.state == NodeState::kConnected) {
      const auto id = Cluster::next_id();
      asked_[id].node = node;
      commands.push_back({.node = node, .id = id, .request = request_});
    }
  }
  cluster_.send(shared_from_this(), std::move(commands));
  finish_if_complete();
}

void NodeQuery::finish_if_complete() {
  if (asked_.empty()) {
    finish(grpc::Status::OK);
  }
}

void NodeQuery::on_batch(wire::FlowBatch batch, Clock::time_point /*now*/) {
  const std::lock_guard lock(mutex_);
  const auto found = asked_.find(batch.id);
  if (found == asked_.end()) {
    return;
  }
  auto& asked = found->second;
  for (auto& item : batch.items) {
    asked.bytes += item.message.size() + sizeof(std::string);
    asked.messages.push_back(std::move(item.message));
  }
  const bool is_large = asked.bytes > kAnswerBytesMax;
  if (!batch.last && !is_large) {
    cluster_.send(shared_from_this(),
                  {{.node = asked.node, .id = batch.id, .request = nullptr}});
    return;
  }
  if (is_large && !batch.last) {
    cluster_.send(shared_from_this(), {{.node = asked.node,
                                        .id = batch.id,
                                        .request = nullptr,
                                        .cancel = true}});
  }
  if (batch.code == 0 && !is_large) {
    answers_.messages[asked.node] = std::move(asked.messages);
  }
  asked_.erase(found);
  finish_if_complete();
}

// A node that goes meanwhile does not answer any more.
void NodeQuery::on_node(const std::string& node, const NodeView& view,
                        Clock::time_point /*now*/) {
  const std::lock_guard lock(mutex_);
  const auto found = answers_.nodes.find(node);
  if (found == answers_.nodes.end() ||
      found->second.generation >= view.generation) {
    return;
  }
  found->second = view;
  if (std::erase_if(asked_, [&](const auto& item) {
        return item.second.node == node;
      }) > 0) {
    finish_if_complete();
  }
}

void NodeQuery::on_lost(std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  if (asked_.erase(id) != 0) {
    finish_if_complete();
  }
}

void NodeQuery::turn(Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  if (now >= until_) {
    finish(grpc::Status::OK);
  }
}

void NodeQuery::finish(const grpc::Status& status) {
  if (std::exchange(ended_, true)) {
    return;
  }
  until_ = Clock::time_point::max();
  std::vector<NodeCommand> commands;
  commands.reserve(asked_.size());
  for (const auto& [id, asked] : asked_) {
    commands.push_back(
        {.node = asked.node, .id = id, .request = nullptr, .cancel = true});
  }
  asked_.clear();
  cluster_.send(shared_from_this(), std::move(commands));
  std::exchange(done_, {})(status, answers_);
}

void NodeQuery::cancel() {
  const std::lock_guard lock(mutex_);
  finish(grpc::Status::CANCELLED);
}

void NodeQuery::close() {
  cluster_.remove(shared_from_this());
  const std::lock_guard lock(mutex_);
  seat_.leave();
}

}  // namespace sluice::flow
