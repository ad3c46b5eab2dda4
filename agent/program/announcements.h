// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/agent.h"
#include "agent/instance/server.h"
#include "agent/program/announced_pod.h"
#include "agent/program/operator_source.h"
#include "lib/health/metric_families.h"
#include "lib/wire/client.h"
#include "sluice/state.h"

namespace sluice::agentd {

// Pods that the node's CNI plugin tells of, from the moment at which their
// interface is made until it is gone: tells the agent which interface is whose
// and the operator which addresses are whose, cuts off what has no verdict, and
// answers the plugin when it has. Kept in a file, so that a process that ends
// forgets nothing. While no operator can be reached, a pod gets what is
// enforced for its siblings on this node (agent/program/sibling.h). One thread.
class Announcements {
 public:
  // All of these outlive it.
  Announcements(std::filesystem::path file, const OperatorLink& link,
                agent::Agent& agent)
      : file_(std::move(file)), link_(&link), agent_(&agent) {}

  // Takes over from the process before this one: what is still there is bound
  // to its interface, and cut off unless it has a record in force. Before the
  // agent's first snapshot.
  void go_on();
  // Gives `state`, which is what an operator said to the process before this
  // one, the endpoints that this process has to go on with beside it.
  void add_siblings(State& state) const;
  // Puts changes of this node's endpoints into force that no operator has said.
  using Change = std::function<void(const Transaction::EndpointChange&)>;
  // Before the first turn(); these outlive it, too.
  void serve(wire::Client& client, instance::Server& server, Change change);
  // The operator has said something of these pods, or all that there is to say:
  // that counts from now on.
  void heard(const Transaction& transaction);
  void heard_all();

  // nullopt if the request is none of the plugin's.
  std::optional<instance::Server::Answer> answer(const std::string& request);
  // After every turn of the program: answers whom it can.
  void turn();
  // How long the plugin waited for its answers, errors among them.
  [[nodiscard]] const health::Durations& waits() const { return waits_; }

 private:
  using Clock = std::chrono::steady_clock;

  struct Waiting {
    std::uint64_t ticket = 0;
    std::string pod;
    std::uint32_t ifindex = 0;
    Clock::time_point since;
    Clock::time_point close_at;
    Clock::time_point deadline;
    OnTimeout on_timeout = OnTimeout::kFail;
  };

  [[nodiscard]] bool is_there(const AnnouncedPod& announced) const;
  instance::Server::Answer announce(const PodRequest& request);
  void withdraw(const std::string& container);
  void collect(const PodRequest& request);
  [[nodiscard]] instance::Server::Answer look(const PodRequest& request) const;
  void forget(const std::string& name);
  void forget_gone();
  // True once it has been answered.
  bool settle(const Waiting& waiting, Clock::time_point now,
              std::vector<std::uint32_t>& to_close);
  // True if the pod has got its siblings' policies.
  bool join_siblings(AnnouncedPod& announced);
  void leave_siblings(AnnouncedPod& announced);
  void time_over(const Waiting& waiting, AnnouncedPod& announced);
  void send(const Waiting& waiting, instance::Reply reply);
  void reply(const Waiting& waiting, const char* state);
  void reply_error(const Waiting& waiting, const std::string& why);
  [[nodiscard]] std::string why_not(const std::string& name) const;
  [[nodiscard]] bool operator_is_old() const;
  void save();

  std::filesystem::path file_;
  const OperatorLink* link_;
  agent::Agent* agent_;
  wire::Client* client_ = nullptr;
  instance::Server* server_ = nullptr;
  Change change_;
  std::map<std::string, AnnouncedPod> pods_;  // by "namespace/name"
  std::vector<Waiting> waiting_;
  std::uint64_t tickets_ = 0;
  health::Durations waits_;
  bool dirty_ = false;
  Clock::time_point look_at_;
};

}  // namespace sluice::agentd
