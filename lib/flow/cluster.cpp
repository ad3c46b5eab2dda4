// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/cluster.h"

#include <iterator>
#include <random>
#include <utility>

#include "lib/flow/time.h"

namespace sluice::flow {
Cluster::Cluster(ClusterOptions options, Links links)
    : options_(std::move(options)), links_(std::move(links)), started_(now()) {}

std::uint64_t Cluster::next_id() {
  std::random_device random;
  return std::uint64_t{random()} << 32U | random();
}

std::vector<std::shared_ptr<ClusterCall>> Cluster::calls() const {
  const std::scoped_lock lock(mutex_);
  return {calls_.begin(), calls_.end()};
}

void Cluster::set_node(const std::string& node, NodeState state) {
  NodeView view{.state = state, .generation = 0};
  {
    const std::scoped_lock lock(mutex_);
    view.generation = ++generation_;
    if (state == NodeState::kGone) {
      nodes_.erase(node);
    } else {
      nodes_[node] = view;
    }
  }
  for (const auto& call : calls()) {
    call->on_node(node, view, Clock::now());
  }
}

void Cluster::on_batch(wire::FlowBatch batch) {
  std::shared_ptr<ClusterCall> call;
  {
    const std::scoped_lock lock(mutex_);
    const auto found = routes_.find(batch.id);
    if (found == routes_.end()) {
      return;
    }
    call = found->second;
    if (batch.last) {
      routes_.erase(found);
    }
  }
  call->on_batch(std::move(batch), Clock::now());
}

void Cluster::run(const NodeCommand& command) {
  if (!command.request) {
    links_.control(command.node, {.id = command.id, .cancel = command.cancel});
    return;
  }
  if (links_.request(command.node, command.id, command.request)) {
    return;
  }
  std::shared_ptr<ClusterCall> call;
  {
    const std::scoped_lock lock(mutex_);
    const auto found = routes_.find(command.id);
    if (found == routes_.end()) {
      return;
    }
    call = std::move(found->second);
    routes_.erase(found);
  }
  call->on_lost(command.id);
}

void Cluster::turn() {
  for (const auto& call : calls()) {
    call->turn(Clock::now());
  }
  std::vector<NodeCommand> commands;
  {
    const std::scoped_lock lock(mutex_);
    commands.swap(commands_);
  }
  for (const auto& command : commands) {
    run(command);
  }
}

std::map<std::string, NodeView> Cluster::add(
    const std::shared_ptr<ClusterCall>& call) {
  const std::scoped_lock lock(mutex_);
  calls_.insert(call);
  return nodes_;
}

void Cluster::remove(const std::shared_ptr<ClusterCall>& call) {
  const std::scoped_lock lock(mutex_);
  calls_.erase(call);
  std::erase_if(routes_,
                [&](const auto& route) { return route.second == call; });
}

void Cluster::send(const std::shared_ptr<ClusterCall>& call,
                   std::vector<NodeCommand> commands) {
  if (commands.empty()) {
    return;
  }
  {
    const std::scoped_lock lock(mutex_);
    for (const auto& command : commands) {
      if (command.request) {
        routes_[command.id] = call;
      } else if (command.cancel) {
        routes_.erase(command.id);
      }
    }
    commands_.insert(commands_.end(), std::make_move_iterator(commands.begin()),
                     std::make_move_iterator(commands.end()));
  }
  links_.wake();
}

Result<void> Cluster::enter(const std::string& user, Places places) {
  const std::scoped_lock lock(mutex_);
  if (places == Places::kQuestions) {
    if (questions_ >= options_.questions_max) {
      ++refused_;
      return fail("too many questions are open");
    }
    ++questions_;
    return {};
  }
  const auto found = users_.find(user);
  const std::size_t his = found == users_.end() ? 0 : found->second;
  if (user.empty()) {
    if (his >= options_.unknown_calls_max) {
      ++refused_;
      return fail("too many calls wait for their tokens to be checked");
    }
  } else if (known_ >= options_.calls_max || his >= options_.user_calls_max) {
    ++refused_;
    return fail(known_ >= options_.calls_max
                    ? "too many calls are open"
                    : "too many calls of " + user + " are open");
  }
  ++users_[user];
  known_ += user.empty() ? 0 : 1;
  return {};
}

void Cluster::leave(const std::string& user, Places places) {
  const std::scoped_lock lock(mutex_);
  if (places == Places::kQuestions) {
    --questions_;
    return;
  }
  const auto found = users_.find(user);
  if (found == users_.end()) {
    return;
  }
  if (--found->second == 0) {
    users_.erase(found);
  }
  known_ -= user.empty() ? 0 : 1;
}

Cluster::Counters Cluster::counters() const {
  const std::scoped_lock lock(mutex_);
  return {.calls = known_ + questions_, .refused = refused_};
}

}  // namespace sluice::flow
