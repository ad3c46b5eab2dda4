// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "agent/adopt_seed.h"
#include "agent/datapath.h"
#include "agent/kernel_clock.h"
#include "agent/tracking.h"
#include "lib/base/ip.h"

namespace sluice::agent {

// Stores seeds. An interface, so that tests can replace it.
class SeedStore {
 public:
  SeedStore() = default;
  SeedStore(const SeedStore&) = delete;
  SeedStore& operator=(const SeedStore&) = delete;
  SeedStore(SeedStore&&) = delete;
  SeedStore& operator=(SeedStore&&) = delete;
  virtual ~SeedStore() = default;

  // The seeds of the following put() calls count as seen now.
  virtual void start() = 0;
  // Writes an entry for which policy is evaluated at its flow's next packet.
  // `replace`: overwrite an existing entry. Returns 0, or an errno value if the
  // entry could not be written.
  virtual int put(const Seed& seed, bool replace) = 0;
};

// Writes to the conntrack of a datapath, which must outlive the result.
Result<std::unique_ptr<SeedStore>> kernel_seed_store(const Datapath& datapath);

// An endpoint whose enforcement begins with the next transaction.
struct NewlyEnforced {
  std::uint32_t ifindex = 0;
  std::vector<IpAddress> ips;
  // True for a port of a bridge whose frames the kernel's tracking does not
  // see.
  bool switched_unseen = false;

  bool operator==(const NewlyEnforced&) const = default;
};

// Lets flows that are older than enforcement continue if policy allows them:
// conntrack is seeded from the kernel's own connection tracking, above all with
// the end that opened each flow. Policy judges every seed at its flow's next
// packet.
//
// The kernel's table is read once for all endpoints that begin in one
// transaction, and again when their records are in force, for the flows that
// have begun in between. Not thread-safe.
class Adoption {
 public:
  using Notice = std::function<void(const std::string&)>;

  Adoption(std::unique_ptr<Tracking> tracking, std::unique_ptr<SeedStore> store)
      : tracking_(std::move(tracking)), store_(std::move(store)) {}

  // Sets the handler for messages to the administrator, one sentence each; each
  // message is sent once.
  void on_notice(Notice notice) { notice_ = std::move(notice); }

  // To be called when the programs are attached and the records are not in
  // force yet. Returns the interfaces for which the kernel may not know all
  // flows. Failures do not prevent enforcement.
  std::unordered_set<std::uint32_t> begin(
      const std::vector<NewlyEnforced>& newly_enforced);
  // To be called as soon as the records are in force. Never overwrites entries
  // made by the programs. Does nothing if no endpoint has begun since the last
  // call.
  void finish();

  struct Progress {
    std::uint64_t seeded = 0;   // entries written
    std::uint64_t refused = 0;  // entries that could not be written
    std::uint64_t reads = 0;    // of the kernel's table
  };
  [[nodiscard]] const Progress& progress() const { return progress_; }

 private:
  struct Found {
    bool all = false;                        // the table could be read
    std::array<bool, 2> families{};          // a flow of the family was seen
    std::unordered_set<std::uint32_t> half;  // with flows of unknown openers
  };
  Found read(bool replace);
  void put(const TrackedFlow& flow, const NodeAddresses& node, bool replace,
           Found& found);
  bool tracks(bool v6, const Found& found);
  void note(const std::string& text);

  std::unique_ptr<Tracking> tracking_;
  std::unique_ptr<SeedStore> store_;
  Notice notice_;
  std::unordered_set<std::string> noted_;
  AdoptedAddresses adopted_;  // since begin()
  std::vector<IpAddress> addresses_;
  std::array<bool, 2> tracks_{};  // by family; once true, always
  Progress progress_;
};

// False if conntrack holds nothing at all: a datapath's maps may be newer than
// the records of its endpoints.
bool has_flows(const Datapath& datapath);

// All addresses of all devices in this network namespace.
Result<NodeAddresses> node_addresses();

}  // namespace sluice::agent
