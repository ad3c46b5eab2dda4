// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/agent.h"
#include "agent/node/server.h"
#include "agent/program/operator_policies.h"
#include "lib/wire/client.h"

namespace sluice::agentd {

// Requests of the `sluice` command that need what only the operator knows: what
// other nodes' pods are and what their policies say, and what in the policies
// of this node is probably not meant. The client waits until the operator has
// answered, or for a few seconds; the request is then answered with what was
// heard, or with why nothing was. Belongs to the daemon's thread.
class Questions {
 public:
  // Answers a request, with what the operator has said.
  using Finish = std::function<node::Server::Answer(const std::string& request,
                                                    const Heard& heard)>;

  // Holds references to all of them.
  Questions(wire::Client& client, node::Server& server,
            const OperatorLink& link, const agent::Agent& agent, Finish finish);

  // nullopt: the request needs no operator.
  std::optional<node::Server::Answer> take(const std::string& request);
  void on_answer(const wire::Answer& answer);
  // The operator answers nothing more that was asked before.
  void on_disconnect();
  // Ends what has waited too long.
  void turn();

 private:
  using Clock = std::chrono::steady_clock;
  struct Waiting {
    std::uint64_t id = 0;  // of the question, and the client's ticket
    std::string request;
    std::vector<IpAddress> addresses;
    Clock::time_point until;
  };

  [[nodiscard]] std::optional<wire::Question> question_of(
      const std::string& request) const;
  [[nodiscard]] std::vector<IpAddress> remotes() const;
  [[nodiscard]] std::string ask(const wire::Question& question) const;
  void finish(const Waiting& waiting, const Heard& heard);

  wire::Client* client_;
  node::Server* server_;
  const OperatorLink* link_;
  const agent::Agent* agent_;
  Finish finish_;
  std::vector<Waiting> waiting_;
  // Other tickets count from 1; see Announcements.
  std::uint64_t last_id_ = std::uint64_t{1} << 63;
};

}  // namespace sluice::agentd
