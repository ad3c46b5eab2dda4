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
#include "agent/node/server.h"
#include "agent/program/announced_pod.h"
#include "agent/program/operator_policies.h"
#include "lib/base/durations.h"
#include "lib/wire/client.h"
#include "sluice/state.h"

namespace sluice::agentd {

// Pods that the node's CNI plugin has announced, from the creation of their
// interface to its deletion. Tells the agent which pod has which interface and
// the operator which pod has which address, denies all traffic of interfaces
// without a verdict, and answers the plugin when the pod's policies are in
// force. The pods are kept in a file, so that the next process knows them.
// While no operator can be reached, a new pod gets the policies of its siblings
// on this node (agent/program/sibling.h). One thread.
class Announcements {
 public:
  // All arguments must outlive it.
  Announcements(std::filesystem::path file, const OperatorLink& link,
                agent::Agent& agent)
      : file_(std::move(file)), link_(&link), agent_(&agent) {}

  // Loads the pods of the previous process. Pods that still exist are bound to
  // their interface; interfaces without a record in force are denied. To be
  // called before the agent's first snapshot.
  void load();
  // Adds the pods that have their siblings' policies to `state`, the last state
  // that the previous process received from an operator.
  void add_siblings(State& state) const;
  // Applies a change of this node's endpoints that no operator has sent.
  using Change = std::function<void(const Transaction::EndpointChange&)>;
  // To be called before the first run(). The arguments must outlive it.
  void serve(wire::Client& client, node::Server& server, Change change);
  // To be called when the operator has sent a change or a snapshot. From then
  // on, the pods in it have the operator's policies.
  void on_transaction(const Transaction& transaction);
  void on_snapshot();

  // nullopt if the request is not one of the plugin's.
  std::optional<node::Server::Answer> answer(const std::string& request);
  // To be called after every turn of the program's loop: answers the requests
  // that can be answered.
  void run();
  // The plugin's waiting times for answers, including errors.
  [[nodiscard]] const Durations& waits() const { return waits_; }

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
  node::Server::Answer announce(const PodRequest& request);
  void withdraw(const std::string& container);
  void collect_garbage(const PodRequest& request);
  [[nodiscard]] node::Server::Answer check(const PodRequest& request) const;
  void remove(const std::string& name);
  void remove_gone();
  // True if the request has been answered.
  bool try_to_answer(const Waiting& waiting, Clock::time_point now,
                     std::vector<std::uint32_t>& to_close);
  // True if the pod has its siblings' policies now.
  bool use_siblings(AnnouncedPod& announced);
  void stop_using_siblings(AnnouncedPod& announced);
  void on_time_over(const Waiting& waiting, AnnouncedPod& announced);
  void send(const Waiting& waiting, node::Reply reply);
  void reply(const Waiting& waiting, const char* state);
  void reply_error(const Waiting& waiting, const std::string& why);
  [[nodiscard]] std::string why_not_enforced(const std::string& name) const;
  [[nodiscard]] bool operator_is_old() const;
  void save();

  std::filesystem::path file_;
  const OperatorLink* link_;
  agent::Agent* agent_;
  wire::Client* client_ = nullptr;
  node::Server* server_ = nullptr;
  Change change_;
  std::map<std::string, AnnouncedPod> pods_;  // by "namespace/name"
  std::vector<Waiting> waiting_;
  std::uint64_t tickets_ = 0;
  Durations waits_;
  bool dirty_ = false;
  Clock::time_point check_at_;
};

}  // namespace sluice::agentd
