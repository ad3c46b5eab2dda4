// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/datapath.h"
#include "agent/maps.h"
#include "agent/targets.h"
#include "lib/base/result.h"
#include "sluice/state.h"

namespace sluice::agent {

struct ApplierOptions {
  // A policy set with as many entries keeps its last generation for a while
  // after a change, so that the next one writes only what differs.
  std::size_t standby_min = 1024;
};

// Makes the kernel's maps follow transactions, each as a whole: what packets
// are judged by changes at one store, the step of the epoch, or not at all
// (ARCHITECTURE.md, "Life of a change"). Work is proportional to what changes.
//
// It is told which interface an endpoint has (bind()); it neither looks for
// interfaces nor attaches programs. An endpoint without an interface has no
// record in the kernel; its policy set is there nevertheless.
//
// Not thread-safe. Only one applier may write a datapath's maps at a time.
class Applier {
 public:
  // Reads back what the maps hold and takes the generation in force as the
  // state to start from; writes nothing. `datapath` must outlive the applier;
  // it may be moved.
  static Result<Applier> create(const Datapath& datapath);
  static Result<Applier> create(std::unique_ptr<Maps> maps,
                                const ApplierOptions& options = {});

  Applier(Applier&&) noexcept;
  Applier& operator=(Applier&&) noexcept;
  Applier(const Applier&) = delete;
  Applier& operator=(const Applier&) = delete;
  ~Applier();

  // The interface of an endpoint, which need not be wanted yet; 0 = none. Part
  // of the next apply(), replace() or retry(). An interface has one endpoint:
  // the last one bound to it.
  void bind(const std::string& endpoint, std::uint32_t ifindex,
            const EndpointLink& link = {});

  // Changes the wanted state and makes the maps follow, all or nothing, but for
  // policy sets and peers that a map has no room for; see shortfalls(). On
  // failure nothing of it is in force, the wanted state is kept and the next
  // call tries it again. The error names the map, its capacity and the size
  // needed where another one is too small.
  Result<void> apply(const Transaction& transaction);
  // Makes `wanted`, changed by `beside`, the wanted state. Cleans up after an
  // interrupted transaction. Writes nothing where nothing differs.
  Result<void> replace(const State& wanted, const Transaction& beside = {});
  // Until when (sluice_endpoint.adopt_until) the endpoint bound to an interface
  // takes TCP segments for replies of flows that are older than its record: of
  // the record that is made next.
  void adopt_until(std::uint32_t ifindex, std::uint32_t jiffies);
  // Takes back what has passed: jiffies come round again.
  void end_adoption(std::uint32_t jiffies_now);
  // To be called every few seconds: deletes generations that stand by and that
  // no change has used since the last call.
  void drop_unused_standbys();
  // `effect` is called whenever a transaction has just taken effect, before
  // what it leaves behind is cleaned up, which takes a grace period.
  void on_effect(std::function<void()> effect);
  // Tries again what failed, and puts bind()s into force; success if there is
  // nothing to do.
  Result<void> retry();

  // A record in force.
  struct Record {
    std::uint32_t ifindex = 0;
    std::vector<IpAddress> ips;
  };
  [[nodiscard]] std::vector<Record> records() const;
  // Policy sets that a map has no room for, or not for all their peers, and
  // why, with the numbers; the endpoint's alone, or empty. Their endpoints are
  // isolated, or what was in force of them stays, or they are allowed less.
  [[nodiscard]] std::map<std::uint32_t, std::string> shortfalls() const;
  [[nodiscard]] std::string shortfall(const std::string& endpoint) const;
  // True if the endpoint's wanted policy, or what stands in for it for want of
  // room, is in force on its interface.
  [[nodiscard]] bool in_force(const std::string& endpoint) const;
  [[nodiscard]] std::uint32_t epoch() const;
  // Elements that the kernel holds, of the maps that the applier writes; of
  // kEndpoints, the records in use. 0 for every other map.
  [[nodiscard]] std::size_t used(Map map) const;

 private:
  Applier(std::unique_ptr<Maps> maps, const ApplierOptions& options);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::agent
