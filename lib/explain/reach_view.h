// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

// The question and the answer of `sluice reach`: who may reach whom, by the
// rules and not by traffic. reach_json.h converts the answer to JSON.
namespace sluice::explain {

struct ReachRequest {
  std::string ns;  // not empty: only cells with an end in this namespace
  // Forms as for `explain`. None: those that rules and containers name, and for
  // each protocol all others as one, "other/TCP".
  std::vector<std::string> ports;
  bool outside = true;        // with ends that are no pods
  std::size_t most_ends = 0;  // of pods; 0: all
};

// Ports of which every one has the same verdict in every cell.
struct ReachPort {
  std::string name;   // "80/TCP", "8000-8010/TCP", "other/TCP"
  std::string asked;  // the one that `explain` would be asked about
};

// Pods that somebody creates alike, or addresses outside of all pods.
struct ReachEnd {
  // Each its own: "namespace/name", "world", "host", "remote-node" or a prefix.
  std::string name;
  std::string ns;    // of pods; otherwise empty
  std::string kind;  // "Deployment", ..., "Pods": alike in their labels,
                     // "entity", "cidr"
  std::vector<std::string> pods;  // "namespace/pod"
  // Of an end outside: those that were asked about.
  std::vector<std::string> addresses;
  std::vector<std::string> prefixes;  // of kind "cidr": all that it stands for
};

// Where the members of the ends have different verdicts.
struct ReachSome {
  std::size_t port = 0;
  std::uint64_t allowed = 0;  // pairs of members
  std::uint64_t pairs = 0;
};

// Ports are their places in ReachView::ports, in order. A port is in one of
// the lists, or in none if no two members share a family that its protocol goes
// over.
struct ReachCell {
  std::size_t from = 0;  // their places in ReachView::ends
  std::size_t to = 0;
  std::vector<std::size_t> allowed;  // between all members
  std::vector<std::size_t> denied;   // between none
  std::vector<ReachSome> some;
};

struct ReachView {
  std::string ns;  // of the question
  std::vector<ReachPort> ports;
  std::vector<ReachEnd> ends;
  // In the order of `from` and `to`. There is none between two ends outside,
  // and none from a single pod to itself, which always reaches itself.
  std::vector<ReachCell> cells;
  std::vector<std::string> notes;  // what the answer is not about
  bool more = false;               // there are more ends than were asked for
  // The work: entries of policy that were looked up, and questions to the
  // rules.
  std::uint64_t lookups = 0;
  std::uint64_t questions = 0;
};

}  // namespace sluice::explain
