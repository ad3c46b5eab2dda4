// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "agent/adopt.h"
#include "agent/apply.h"
#include "agent/attach.h"
#include "agent/interfaces.h"
#include "sluice/state.h"

namespace sluice::agent {

// The wanted endpoints and the interfaces found for them. Attaches the programs
// and binds the interfaces in the applier. All arguments must outlive it.
//
// Order: the programs are attached before the endpoint's record is in force,
// and detached after the record is gone. Without a record they pass everything,
// so enforcement of both directions begins and ends at one moment, the step of
// the epoch. In the opposite order, a packet between the first and the second
// attachment would pass one direction unseen, and its reply would be taken for
// a flow that the other end opened.
//
// Between attachment and record, the endpoint's existing flows are adopted
// (take_newly_enforced(), agent/adopt.h). A record that took effect without
// them would cut allowed flows, and the pod's packets in a forbidden flow would
// be taken for a flow that the pod opened.
class Endpoints {
 public:
  // `knows_flows`: conntrack already has the flows of the records in force.
  Endpoints(Interfaces& interfaces, Attacher& attacher, Applier& applier,
            bool knows_flows = true)
      : interfaces_(interfaces),
        attacher_(attacher),
        applier_(applier),
        knows_flows_(knows_flows) {}

  struct EndpointState {
    EndpointEntry entry;
    std::uint32_t ifindex = 0;  // 0 = pending
    bool attached = false;
    std::string problem;
  };

  // Adds or removes an endpoint and looks for its interface. Takes effect with
  // the applier's next transaction.
  void set(const std::string& name, std::optional<EndpointEntry> entry);
  // Calls set() for each change. Interfaces of removed endpoints pass to
  // waiting endpoints in the same transaction.
  void apply(const std::vector<Transaction::EndpointChange>& changes);
  // Replaces all endpoints. Endpoints whose interface cannot be found
  // (neighbour entries expire) keep the interface of their record in the
  // kernel.
  void replace(const std::vector<EndpointEntry>& entries);
  // Looks for the interfaces of all endpoints again, and restores filters that
  // were removed. Returns true if the applier has to be called.
  bool refresh(const Interfaces::Changes& changes);
  // Returns endpoints, or addresses of endpoints, that were not enforced before
  // and that the applier's next transaction puts into force. Each is returned
  // once. Pods in which nothing runs yet have no flows and are left out.
  [[nodiscard]] std::vector<NewlyEnforced> take_newly_enforced();
  // To be called when a transaction is in force: detaches the programs from
  // interfaces that no endpoint has any more.
  void settle();
  // To be called when the first transaction is in force: does the same for all
  // interfaces.
  void sweep();

  [[nodiscard]] const std::map<std::string, EndpointState>& all() const {
    return states_;
  }
  // Returns the endpoint of an interface; empty if it has none.
  [[nodiscard]] std::string name_of(std::uint32_t ifindex) const;

 private:
  void resolve(const std::string& name, EndpointState& endpoint);
  void bind(const std::string& name, EndpointState& endpoint,
            std::uint32_t ifindex);
  void release(const std::string& name, EndpointState& endpoint);
  [[nodiscard]] EndpointLink link_of(const EndpointState& endpoint) const;
  void attach(const std::string& name, EndpointState& endpoint);
  [[nodiscard]] std::uint32_t recorded(const EndpointEntry& entry) const;

  Interfaces& interfaces_;
  Attacher& attacher_;
  Applier& applier_;
  std::map<std::string, EndpointState> states_;
  std::unordered_map<std::uint32_t, std::string> owners_;  // by ifindex
  std::unordered_set<std::uint32_t> released_;
  std::unordered_set<std::string> attached_;  // since take_newly_enforced()
  bool knows_flows_;
  // Interfaces by the addresses of the records found in the kernel; only while
  // replace() runs.
  std::unordered_map<IpAddress, std::uint32_t> records_;
};

}  // namespace sluice::agent
