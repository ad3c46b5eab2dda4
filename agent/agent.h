// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/datapath.h"
#include "agent/learning.h"
#include "lib/base/result.h"
#include "sluice/state.h"

namespace sluice::agent {

struct AgentOptions {
  DatapathOptions datapath;
  std::uint32_t on_policy_change = SLUICE_CHANGE_REEVALUATE;
  bool events_new_flows = true;
  std::uint32_t events_per_second = 1000;  // per CPU
  LearningOptions learning;
  // Which interfaces are pods', for deny_unclaimed() and for endpoints that
  // name one (empty: these may name any): shell patterns of names.
  std::vector<std::string> pod_interfaces;
};

struct EndpointStatus {
  std::string name;           // "namespace/pod"
  std::uint32_t ifindex = 0;  // 0 = no interface found
  std::string interface;
  std::uint32_t policy_set = 0;
  std::array<bool, 2> isolated{};
  std::vector<IpAddress> ips;
  bool attached = false;
  std::string problem;  // why it is not attached, or empty
};

struct MapStatus {
  std::string name;
  std::uint64_t used = 0;
  std::uint64_t capacity = 0;
};

struct AgentStatus {
  std::uint64_t revision = 0;  // last transaction in force
  std::uint32_t epoch = 0;
  std::vector<EndpointStatus> endpoints;
  std::vector<MapStatus> maps;
  struct Reason {
    std::string reason;
    std::string direction;
    bool allowed = false;
    std::uint64_t packets = 0;
    std::uint64_t bytes = 0;
  };
  std::vector<Reason> reasons;  // all, in both directions
  std::uint64_t events_lost = 0;
  Learning::Counters names;
  std::uint64_t unclaimed_denied = 0;  // interfaces; see deny_unclaimed()
  std::string problem;  // why the wanted state is not in force, or empty
  // Policy sets that the policy map has no room for, and why.
  std::map<std::uint32_t, std::string> shortfalls;
};

struct ConntrackEntry {
  std::uint32_t ifindex = 0;
  bool v6 = false;
  IpAddress remote;
  std::uint16_t local_port = 0;
  std::uint16_t remote_port = 0;
  std::uint8_t protocol = 0;
  sluice_conntrack value{};
  // The source before the node masqueraded it, if it did and it is known.
  std::optional<IpAddress> origin;
};

// Keeps one node's kernel equal to the state it is told: loads the datapath,
// finds the pods' interfaces, attaches, applies transactions in order, reads
// flow events. What it put into the kernel outlives it. All members are called
// from one thread.
class Agent {
 public:
  // Loads or takes over what is pinned and attached; changes no verdict.
  static Result<Agent> start(const AgentOptions& options);
  Agent(Agent&&) noexcept;
  Agent& operator=(Agent&&) noexcept;
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;
  ~Agent();

  // The first snapshot after start(): what the kernel holds beyond it is
  // removed, what it lacks added, the rest is not touched. `revision` is what
  // status() says once it is in force.
  Result<void> replace(const State& wanted, std::uint64_t revision = 0);
  // Changes the wanted state and makes the kernel follow, all or nothing, but
  // for policy sets that the policy map has no room for: their endpoints alone
  // are isolated, or keep what was in force; see status(). On failure the
  // kernel keeps the last good state; the wanted state is kept and tried again
  // by the next call or retry(). The error names the map, its capacity and the
  // size needed where one is too small.
  Result<void> apply(const Transaction& transaction);
  // Flow events that the datapath could not report, over all processes that
  // have used the same maps.
  [[nodiscard]] Result<std::uint64_t> events_lost() const;
  // Tries again what failed; success if there is nothing to do.
  Result<void> retry();
  // Whether pods' interfaces that no endpoint has claimed are cut off until one
  // does; they are not at first. From the node packets reach such a pod, but
  // its answers go nowhere: nobody knows its address. Before the first
  // snapshot, interfaces that have a record in the kernel count as claimed.
  Result<void> deny_unclaimed(bool deny);

  // What a CNI plugin says of a new interface of this node, which may be none
  // that we know yet: it is the endpoint's, whatever else leads to it. 0: no
  // more. In force with the next call of anything. `starting`: nothing runs in
  // the pod before announce() says otherwise, so the kernel is not asked for
  // flows to adopt; those that it has of these addresses are an earlier pod's.
  void announce(const std::string& endpoint, std::uint32_t ifindex,
                bool starting = false);
  // Whether interfaces that no endpoint has claimed are cut off whatever
  // deny_unclaimed() says; until they are gone, or opened.
  Result<void> close_interfaces(const std::vector<std::uint32_t>& ifindexes);
  Result<void> open_interface(std::uint32_t ifindex);
  // True if the interface is cut off; false once an endpoint has claimed it.
  [[nodiscard]] bool is_closed(std::uint32_t ifindex) const;
  // True if the policies of the endpoint are in force on this interface for
  // these addresses, or for those of them that it has.
  [[nodiscard]] bool is_enforced(const std::string& endpoint,
                                 std::uint32_t ifindex,
                                 const std::vector<IpAddress>& ips) const;
  // 0 if this node has no such interface.
  [[nodiscard]] std::uint32_t interface_index(const std::string& name) const;
  [[nodiscard]] std::string interface_name(std::uint32_t ifindex) const;

  // Descriptor to poll for reading; then call dispatch(), which handles
  // netlink changes (interfaces, routes, neighbours) and flow events. Call it
  // on a timer too, every 100 ms for example: the datapath submits flow events
  // without waking anybody, and what nobody reads in time is lost (and
  // counted).
  [[nodiscard]] int poll_fd() const;
  // An error if interfaces, routes or addresses cannot be followed, or if what
  // has become of them cannot be put into force. What was in force stays, and
  // the next call and retry() try again.
  Result<void> dispatch();
  // Called with what an administrator should know, in a sentence; each thing
  // once. One handler.
  void on_notice(std::function<void(const std::string&)> handler);
  // Called from dispatch() for every flow event. One handler.
  void on_event(std::function<void(const sluice_flow_event&)> handler);

  // All addresses of the node's devices as they were at the last dispatch(),
  // sorted, also those that are of use on a link only.
  [[nodiscard]] const std::vector<IpAddress>& node_addresses() const;
  // As it was told.
  [[nodiscard]] const State& wanted() const;
  // The same with all of the node's own addresses beside its peers, link-local
  // ones too: what the kernel is to hold. Those of which the wanted state does
  // not say what they are have the class of the prefix around them, with
  // OwnPeers::kMark.
  [[nodiscard]] State view() const;
  [[nodiscard]] AgentStatus status() const;
  // See AgentStatus; cheap.
  [[nodiscard]] std::map<std::uint32_t, std::string> shortfalls() const;
  // Endpoints that are not enforced, by name, and why; cheap.
  [[nodiscard]] std::vector<std::pair<std::string, std::string>>
  endpoint_problems() const;
  // Entries as the kernel holds them (the generation bit in policy_id).
  [[nodiscard]] Result<std::vector<PolicyEntry>> dump_policy() const;
  [[nodiscard]] Result<std::vector<ConntrackEntry>> dump_conntrack() const;
  // What endpoints have resolved since this object was made, and learned.
  [[nodiscard]] const Learning& learning() const;
  // The interface of an endpoint; 0: it has none, or there is no such endpoint.
  [[nodiscard]] std::uint32_t ifindex_of(const std::string& endpoint) const;
  // "namespace/pod" behind an interface, or empty.
  [[nodiscard]] std::string endpoint_name(std::uint32_t ifindex) const;

 private:
  Agent();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Detaches our programs from every interface of this network namespace, takes
// away clsact qdiscs that have no filter (anybody's) left, and removes the pins
// under `pin_dir`. Success if there is nothing.
Result<void> cleanup(const std::filesystem::path& pin_dir);

}  // namespace sluice::agent
