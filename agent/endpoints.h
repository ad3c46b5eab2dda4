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

// The wanted endpoints and the interfaces found for them: attaches the programs
// and tells the applier. Both must outlive it.
//
// Order. The programs are attached before the endpoint's record is in force,
// and taken off after it is gone: without a record they let everything pass, so
// both directions begin and end to be enforced at one moment, the step of the
// epoch. The other way round, a packet between the first and the second
// attachment would pass one direction unseen, and its answer would be taken for
// a flow that the other side opened.
//
// Between the two, the flows that the endpoint has already are adopted
// (take_beginners(), agent/adopt.h): a record that took effect without them
// would cut what policy allows, and what the pod says in a flow that policy
// forbids would be taken for a flow of its own.
class Endpoints {
 public:
  // `knows_flows`: conntrack has the flows of the records in force.
  Endpoints(Interfaces& interfaces, Attacher& attacher, Applier& applier,
            bool knows_flows = true)
      : interfaces_(interfaces),
        attacher_(attacher),
        applier_(applier),
        knows_flows_(knows_flows) {}

  struct Item {
    EndpointEntry entry;
    std::uint32_t ifindex = 0;  // 0 = pending
    bool attached = false;
    std::string problem;
  };

  // Puts an endpoint on the list or takes it off, and looks for its interface.
  // In force with the applier's next transaction.
  void set(const std::string& name, std::optional<EndpointEntry> entry);
  // As set() for each. What those that go had is taken over, by whoever waited
  // for it too, in the same transaction.
  void apply(const std::vector<Transaction::EndpointChange>& changes);
  // As set() for all; endpoints whose interface cannot be found (entries of
  // neighbours expire) keep the one that their record in the kernel has.
  void replace(const std::vector<EndpointEntry>& entries);
  // Looks again, for all, and puts back filters that somebody took away.
  // Returns true if the applier has to be called.
  bool refresh(const Interfaces::Changes& changes);
  // Endpoints, or addresses of theirs, that the applier's next transaction puts
  // into force and that were not enforced before. Each is told once. Pods in
  // which nothing runs yet have no flows and are left out.
  [[nodiscard]] std::vector<Beginner> take_beginners();
  // Once a transaction is in force: takes the programs off interfaces that are
  // no endpoint's any more.
  void settle();
  // Once the first transaction is in force: the same for all interfaces.
  void sweep();

  [[nodiscard]] const std::map<std::string, Item>& all() const {
    return items_;
  }
  // Empty if it is no endpoint's.
  [[nodiscard]] std::string name_of(std::uint32_t ifindex) const;

 private:
  void resolve(const std::string& name, Item& item);
  void bind(const std::string& name, Item& item, std::uint32_t ifindex);
  void release(const std::string& name, Item& item);
  [[nodiscard]] EndpointLink link_of(const Item& item) const;
  void attach(const std::string& name, Item& item);
  [[nodiscard]] std::uint32_t recorded(const EndpointEntry& entry) const;

  Interfaces& interfaces_;
  Attacher& attacher_;
  Applier& applier_;
  std::map<std::string, Item> items_;
  std::unordered_map<std::uint32_t, std::string> owners_;  // by ifindex
  std::unordered_set<std::uint32_t> released_;
  std::unordered_set<std::string> attached_;  // since take_beginners()
  bool knows_flows_;
  // Interfaces by the addresses of the records found in the kernel; only while
  // replace() runs.
  std::unordered_map<IpAddress, std::uint32_t> records_;
};

}  // namespace sluice::agent
