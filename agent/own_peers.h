// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/mirror.h"
#include "sluice/state.h"

namespace sluice::agent {

// Lays the node's own addresses beside the peers of the wanted state: each of
// them that the state has no exact peer for, and that is no endpoint's, gets
// the class of the prefix around it with the mark of the node's own, and that
// class the entries of the other. So from the moment the node has an address,
// with or without an operator, tunnels to it are closed and what is masqueraded
// to it is not taken for the node's own; but no verdict changes, and so nothing
// opens, until the operator says what the address is. Values; one thread.
class OwnPeers {
 public:
  // SLUICE_CIDR_LOCAL_NODE alone: an operator's classes have both marks.
  static constexpr std::uint32_t kMark = SLUICE_CIDR_LOCAL_NODE;

  struct Laid {
    std::vector<PeerEntry> peers;
    std::vector<PolicyEntry> entries;
  };
  struct Changes {
    std::vector<Transaction::PeerChange> peers;
    std::vector<Transaction::EntryChange> entries;
    [[nodiscard]] bool empty() const {
      return peers.empty() && entries.empty();
    }
    // Adds later changes, which win.
    void add(const Changes& later);
  };
  // Gives the wanted state as it is once the change is made. Asked only where
  // entries of a class that was not laid before are needed.
  using Wanted = std::function<const State&()>;

  // The node's addresses, all of them. `wanted` as it is, its peers sorted.
  // Returns the changes that follow.
  Changes set_addresses(const std::vector<IpAddress>& addresses,
                        const State& wanted);
  // `wanted` is the whole state from now on; laid() is beside it.
  void replace(const State& wanted);
  // The wanted state changes so. Returns the changes that follow beside it;
  // where one is about a peer of the transaction, it replaces that.
  Changes apply(const Transaction& transaction, const Wanted& wanted);

  // Peers sorted.
  [[nodiscard]] Laid laid() const;

 private:
  // True if what is to be laid may be another.
  bool note_peer(const Transaction::PeerChange& change);
  bool note_endpoint(const std::string& name,
                     const std::vector<IpAddress>& addresses);
  [[nodiscard]] std::map<IpAddress, std::uint32_t> wanted_layer() const;
  void settle_peers(Changes& changes);
  void settle_entries(Changes& changes, const Wanted& wanted);

  std::set<IpAddress> addresses_;
  std::set<IpAddress> held_;  // those that the state has an exact peer for
  PeerTable prefixes_;        // the state's, without single addresses
  std::unordered_map<std::string, std::vector<IpAddress>> endpoints_;
  std::unordered_map<IpAddress, std::uint32_t> endpoint_refs_;
  std::map<IpAddress, std::uint32_t> laid_;
  // By the class of the state: its entries, which the marked class has too.
  std::map<std::uint32_t, EntryMap> copied_;
};

// The transaction with these changes in it.
Transaction with_own(Transaction transaction, const OwnPeers::Changes& changes);

}  // namespace sluice::agent
