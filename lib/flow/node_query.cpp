// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/node_query.h"

#include <mutex>
#include <utility>

namespace sluice::flow {
namespace {

// Of one node's answer; one that is longer is left out.
constexpr std::size_t kAnswerBytesMax = 4 << 20;

}  // namespace

std::shared_ptr<NodeQuery> NodeQuery::create(Cluster& cluster,
                                             wire::FlowKind kind,
                                             std::string request, Done done,
                                             Places places) {
  return std::make_shared<NodeQuery>(
      cluster,
      wire::FlowRequest{.id = 0,
                        .kind = kind,
                        .request = std::move(request),
                        .batch_bytes = wire::kFlowBatchBytesMax,
                        .namespaces = {}},
      std::move(done), places);
}

NodeQuery::NodeQuery(Cluster& cluster, wire::FlowRequest request, Done done,
                     Places places)
    : GatedCall(cluster, places),
      request_(std::make_shared<const wire::FlowRequest>(std::move(request))),
      done_(std::move(done)) {}

void NodeQuery::on_admitted(const Admission& admission) {
  if (!admission.everything) {
    finish({grpc::StatusCode::PERMISSION_DENIED, admission.missing});
    return;
  }
  answers_->nodes = cluster().add(shared_from_this());
  until_ = Clock::now() + cluster().options().patience;
  std::vector<NodeCommand> commands;
  for (const auto& [node, view] : answers_->nodes) {
    if (view.state == NodeState::kConnected) {
      const auto id = Cluster::next_id();
      asked_[id].node = node;
      commands.push_back({.node = node, .id = id, .request = request_});
    }
  }
  cluster().send(shared_from_this(), std::move(commands));
  finish_if_complete();
}

void NodeQuery::finish_if_complete() {
  if (asked_.empty()) {
    finish(grpc::Status::OK);
  }
}

void NodeQuery::on_batch(wire::FlowBatch batch, Clock::time_point /*now*/) {
  const std::lock_guard lock(mutex());
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
    cluster().send(shared_from_this(),
                   {{.node = asked.node, .id = batch.id, .request = nullptr}});
    return;
  }
  if (is_large && !batch.last) {
    cluster().send(shared_from_this(), {{.node = asked.node,
                                         .id = batch.id,
                                         .request = nullptr,
                                         .cancel = true}});
  }
  if (is_large) {
    answers_->failures[asked.node] = {.kind = Failure::Kind::kTooLarge,
                                      .text = {}};
  } else if (batch.code != 0) {
    answers_->failures[asked.node] = {.kind = Failure::Kind::kRefused,
                                      .text = std::move(batch.error)};
  } else {
    answers_->messages[asked.node] = std::move(asked.messages);
  }
  asked_.erase(found);
  finish_if_complete();
}

// A node that goes meanwhile does not answer any more.
void NodeQuery::on_node(const std::string& node, const NodeView& view,
                        Clock::time_point /*now*/) {
  const std::lock_guard lock(mutex());
  if (has_ended()) {
    return;
  }
  const auto found = answers_->nodes.find(node);
  if (found == answers_->nodes.end() ||
      found->second.generation >= view.generation) {
    return;
  }
  found->second = view;
  if (std::erase_if(asked_, [&](const auto& item) {
        return item.second.node == node;
      }) > 0) {
    answers_->failures[node] = {.kind = Failure::Kind::kGone, .text = {}};
    finish_if_complete();
  }
}

void NodeQuery::on_lost(std::uint64_t id) {
  const std::lock_guard lock(mutex());
  if (const auto found = asked_.find(id); found != asked_.end()) {
    answers_->failures[found->second.node] = {.kind = Failure::Kind::kGone,
                                              .text = {}};
    asked_.erase(found);
    finish_if_complete();
  }
}

void NodeQuery::turn(Clock::time_point now) {
  const std::lock_guard lock(mutex());
  if (now >= until_) {
    finish(grpc::Status::OK);
  }
}

void NodeQuery::on_finish(const grpc::Status& status) {
  until_ = Clock::time_point::max();
  std::vector<NodeCommand> commands;
  commands.reserve(asked_.size());
  for (const auto& [id, asked] : asked_) {
    commands.push_back(
        {.node = asked.node, .id = id, .request = nullptr, .cancel = true});
  }
  asked_.clear();
  cluster().send(shared_from_this(), std::move(commands));
  std::exchange(done_, {})(status, answers_);
}

void NodeQuery::cancel() {
  const std::lock_guard lock(mutex());
  finish(grpc::Status::CANCELLED);
}

}  // namespace sluice::flow
