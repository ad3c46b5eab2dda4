// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "agent/node/ends.h"
#include "agent/node/names.h"
#include "lib/flow/flow_counts.h"
#include "lib/flow/record.h"
#include "lib/flow/store.h"
#include "sluice/abi.h"

namespace sluice::node {

// Makes records of the datapath's flow events and stores them in their order. A
// record waits a moment until its ends are known. One thread; the store may
// have readers on others.
class FlowRecorder {
 public:
  using Clock = Ends::Clock;
  // What the node knows of its endpoints.
  struct Endpoints {
    // "namespace/pod" of the interface's; empty if it is nobody's.
    std::function<std::string(std::uint32_t ifindex)> name;
    // The DNS names by which it knows the address; few.
    std::function<std::vector<std::string>(std::uint32_t ifindex,
                                           const IpAddress& address)>
        names_of;
  };

  // All must outlive the recorder. `counts` gets every record too, if it is not
  // null.
  FlowRecorder(flow::Store& store, Ends& ends, const Names& names,
               Endpoints endpoints, flow::FlowCounts* counts = nullptr);

  void on_event(const sluice_flow_event& event, Clock::time_point now);
  // A flow goes on or has ended. `record`: all but ends and decision, which is
  // that of the rule.
  void on_traffic(flow::Record record, std::uint32_t rule,
                  Clock::time_point now);
  // The kernel could not tell of so many since the call before. To be called
  // every second, for none too: the record says between which times they were.
  void on_lost(std::uint64_t events, Clock::time_point now);
  // Rules have changed: their numbers may mean something else.
  void forget_rules() { decisions_.clear(); }
  // Stores what has waited for its ends and knows them now, or does not wait
  // any longer. To be called at the end of every turn of the loop.
  void turn(Clock::time_point now);

 private:
  struct Waiting {
    flow::Record record;
    Clock::time_point until;
  };
  using DecisionKey = std::uint64_t;  // rule, and set for a default deny

  void store(flow::Record record, Clock::time_point now);
  void keep(flow::Record record);
  bool find_ends(flow::Record& record, Clock::time_point now);
  Ends::End find_end(const flow::Record& record, const IpAddress& address,
                     bool remote, Clock::time_point now);
  void give_up(flow::Record& record) const;
  Ends::End named(const flow::Record& record, const IpAddress& address,
                  Ends::End end);
  std::shared_ptr<const flow::Decision> decision_of(
      const sluice_flow_event& event);

  flow::Store* store_;
  flow::FlowCounts* counts_;
  Ends* ends_;
  const Names* names_;
  Endpoints endpoints_;
  struct Named {
    Ends::End plain;
    Ends::End end;  // with the names
  };
  using NamedKey = std::pair<std::uint32_t, IpAddress>;  // ifindex
  std::map<NamedKey, Named> named_;
  std::unordered_map<DecisionKey, std::shared_ptr<const flow::Decision>>
      decisions_;
  std::deque<Waiting> waiting_;
  std::int64_t lost_since_ = 0;  // the last call of on_lost(); 0: none yet
};

}  // namespace sluice::node
