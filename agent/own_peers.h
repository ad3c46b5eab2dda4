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

// Adds the node's own addresses to the peers of the wanted state. Each address
// for which the state has no exact peer, and that is not an endpoint's, gets
// the class of its enclosing prefix with the mark for the node's own addresses,
// and this new class gets the entries of the original one. From the moment when
// the node has an address, with or without an operator, tunnels to it are thus
// closed, and traffic masqueraded to it is not taken for the node's own. No
// verdict changes, so nothing opens, until the operator says what the address
// is. Pure; one thread.
class OwnPeers {
 public:
  // SLUICE_CIDR_LOCAL_NODE alone: an operator's classes have both marks.
  static constexpr std::uint32_t kMark = SLUICE_CIDR_LOCAL_NODE;

  struct Layer {
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
  // Returns the wanted state after the change. Called only if entries of a
  // class without a marked copy are needed.
  using Wanted = std::function<const State&()>;

  // Sets all of the node's addresses. `wanted` is the current state with sorted
  // peers. Returns the resulting changes.
  Changes set_addresses(const std::vector<IpAddress>& addresses,
                        const State& wanted);
  // `wanted` becomes the whole wanted state; layer() is to be added to it.
  void replace(const State& wanted);
  // Takes a change of the wanted state and returns the additional changes. If
  // one of them concerns a peer of the transaction, it replaces the
  // transaction's.
  Changes apply(const Transaction& transaction, const Wanted& wanted);

  // Peers sorted.
  [[nodiscard]] Layer layer() const;

 private:
  // True if the added peers may have to change.
  bool note_peer(const Transaction::PeerChange& change);
  bool note_endpoint(const std::string& name,
                     const std::vector<IpAddress>& addresses);
  [[nodiscard]] std::map<IpAddress, std::uint32_t> wanted_layer() const;
  void settle_peers(Changes& changes);
  void settle_entries(Changes& changes, const Wanted& wanted);

  std::set<IpAddress> addresses_;
  std::set<IpAddress> exact_;  // those for which the state has an exact peer
  PeerTable prefixes_;         // the state's, without single addresses
  std::unordered_map<std::string, std::vector<IpAddress>> endpoints_;
  std::unordered_map<IpAddress, std::uint32_t> endpoint_refs_;
  std::map<IpAddress, std::uint32_t> layer_;
  // By class of the wanted state: its entries, which the marked class has too.
  std::map<std::uint32_t, EntryMap> copied_;
};

// Returns the transaction with these changes included.
Transaction with_own(Transaction transaction, const OwnPeers::Changes& changes);

}  // namespace sluice::agent
