// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>

#include "agent/node/server.h"
#include "lib/wire/protocol.h"

namespace sluice::agentd {

// Requests of the operator for what this node says of itself: those of kStatus
// whose `request` is one of the socket's, {"command": "status"} or {"command":
// "endpoint list"}. The items are the status, or the endpoints, as JSON.
// Belongs to the daemon's thread.
class StatusRequests {
 public:
  // Answers as the socket does.
  using Answer = std::function<node::Server::Answer(const std::string&)>;
  using Send = std::function<void(wire::FlowBatch)>;
  StatusRequests(Answer answer, Send send)
      : answer_(std::move(answer)), send_(std::move(send)) {}

  // False if the request is another one.
  bool take(const wire::FlowRequest& request);
  // False if the request that it is about is.
  bool control(const wire::FlowControl& control);
  // The operator is gone.
  void cancel_all() { open_.clear(); }

 private:
  using Items = std::deque<std::string>;
  void send(std::uint64_t id, Items items);

  Answer answer_;
  Send send_;
  std::map<std::uint64_t, Items> open_;  // what is left of answers
};

}  // namespace sluice::agentd
