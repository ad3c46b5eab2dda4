// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/agent.h"
#include "agent/node/applied.h"
#include "agent/node/apply_state.h"
#include "agent/node/ends.h"
#include "agent/node/flow_export.h"
#include "agent/node/flow_hub.h"
#include "agent/node/flow_options.h"
#include "agent/node/flow_recorder.h"
#include "agent/node/locks.h"
#include "agent/node/long_flows.h"
#include "agent/node/names.h"
#include "agent/node/observer_server.h"
#include "agent/node/server.h"
#include "agent/node/source.h"
#include "lib/base/fd.h"
#include "lib/base/loop.h"
#include "lib/base/result.h"
#include "lib/flow/flow_counts.h"
#include "lib/flow/store.h"
#include "lib/health/health_server.h"
#include "sluice/state.h"

namespace sluice::node {

struct RuntimeOptions {
  agent::AgentOptions agent;
  std::filesystem::path socket;  // of the `sluice` command
  FlowOptions flows;
  std::string health;  // address of /healthz and the others; empty: none
  // Opens what else the program needs, before the datapath is loaded. On
  // failure the program ends and the kernel is unchanged.
  std::function<Result<void>()> before_load;
};

// Whose state the node enforces.
enum class Phase : std::uint8_t {
  kWaiting,   // that of an earlier process: nothing has been received
  kResumed,   // what an earlier process has received from the source
  kReceived,  // the source's, which has not been in force yet
  kInForce,   // the source's, which has been in force at least once
};

// What every program that enforces policies on a node consists of, whatever the
// source of its policies: locks, signals, the agent, the names behind its ids,
// the socket of the `sluice` command with its answers and flow events, the
// health port, retries, and the loop. All members are called from one thread.
class Runtime {
 public:
  // Takes the locks, opens the health port, loads the datapath, opens the
  // socket and starts the source, which may put its state into force at once.
  static Result<std::unique_ptr<Runtime>> start(RuntimeOptions options,
                                                std::unique_ptr<Source> source);
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;
  Runtime(Runtime&&) = delete;
  Runtime& operator=(Runtime&&) = delete;
  ~Runtime();

  // Runs until SIGTERM or SIGINT; what is in force then stays in force. Fails
  // only if the loop itself cannot continue.
  Result<void> run();

  // For the source. A state or change that cannot be put into force is kept and
  // tried again, so sources do not repeat it; Source::on_outcome() reports
  // every attempt.

  // The state that an earlier process has received from the source.
  void resume(const State& state);
  // The source's whole state, in place of everything before.
  void snapshot(std::uint64_t revision, const State& state);
  // A change of it.
  void change(const Transaction& transaction);
  // Takes note of another call of the agent that has failed. The next retry
  // covers it.
  void report_failure(const Result<void>& failure);
  // The same, for a failure that the source has logged itself.
  void retry_later();

  [[nodiscard]] Loop& loop() { return *loop_; }
  [[nodiscard]] agent::Agent& agent() { return *agent_; }
  [[nodiscard]] const agent::Agent& agent() const { return *agent_; }
  [[nodiscard]] Server& server() { return *server_; }
  [[nodiscard]] const flow::Store& flow_store() const { return flow_store_; }
  [[nodiscard]] const RuntimeOptions& options() const { return options_; }
  [[nodiscard]] Phase phase() const { return phase_; }
  // Why what the source has given is not in force; empty if it is.
  [[nodiscard]] const std::string& apply_problem() const {
    return apply_state_.problem();
  }
  [[nodiscard]] const Applied& applied() const { return applied_; }
  // Why the newest policies are not in force; empty if they are.
  [[nodiscard]] std::string problem() const;
  // The same, or which policies are not enforced because the kernel's maps are
  // too small: what `sluice status` says.
  [[nodiscard]] std::string enforcement_problem() const;
  // Returns the pod of this node that has the address; empty if none has it.
  [[nodiscard]] std::string pod_of(const IpAddress& address) const;
  // Answers a request of the `sluice` command; `policies` is the source's part.
  [[nodiscard]] Server::Answer answer(const std::string& request,
                                      const PolicyInfo& policies) const;

 private:
  using Clock = std::chrono::steady_clock;
  using Pods = std::unordered_map<IpAddress, std::string>;

  Runtime(RuntimeOptions options, std::unique_ptr<Source> source);
  Result<void> prepare();
  Result<void> open_health();
  Result<void> open_agent();
  Result<void> open_server();
  Result<void> open_observer();
  Result<void> open_export();
  Result<void> watch();
  void follow_node();
  void finish(const Result<void>& result, Clock::time_point begun);
  void plan_retry();
  void retry();
  void save_names();
  void housekeeping();
  void record_lost_events();
  void record_traffic();
  [[nodiscard]] std::optional<IpAddress> own_address(std::uint32_t ifindex,
                                                     bool v6) const;
  void report_health();
  [[nodiscard]] std::string metrics() const;
  void on_signal();
  Result<void> turn_until_stopped();
  void on_event(const sluice_flow_event& event);
  bool ask_ends(const std::vector<IpAddress>& addresses);
  [[nodiscard]] FlowView make_flow(const sluice_flow_event& event) const;

  RuntimeOptions options_;
  Locks locks_;
  Fd signals_;
  std::unique_ptr<Loop> loop_;
  Names names_;
  bool names_changed_ = false;
  FlowHub flows_;
  flow::Store flow_store_;
  flow::FlowCounts flow_counts_;
  Ends ends_;
  FlowRecorder recorder_;
  LongFlows long_flows_;
  std::uint64_t events_lost_ = 0;  // recorded, or before this process
  std::optional<agent::Agent> agent_;
  std::optional<Server> server_;
  std::unique_ptr<ObserverServer> observer_;
  std::unique_ptr<FlowExport> export_;  // null: none
  ApplyState apply_state_;
  Applied applied_;
  std::optional<health::HealthServer> health_;
  Phase phase_ = Phase::kWaiting;
  std::optional<std::vector<IpAddress>> addresses_;  // as told to the source
  mutable std::optional<Pods> pods_;                 // made when asked for
  Timer retry_timer_;
  Timer housekeeping_timer_;
  Timer traffic_timer_;
  bool stopping_ = false;
  std::unique_ptr<Source> source_;  // destroyed first
};

}  // namespace sluice::node
