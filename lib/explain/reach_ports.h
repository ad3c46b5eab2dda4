// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/explain/reach_view.h"
#include "lib/explain/text.h"
#include "lib/kube/objects.h"
#include "sluice/abi.h"

// The ports that a reachability table is about.
namespace sluice::explain {

// Neighbouring ports of one protocol, all with the same verdicts. ICMP: types.
struct ReachPorts {
  std::uint8_t protocol = 0;
  std::uint16_t first = 0;
  std::uint16_t last = 0;
  bool other = false;  // all that nothing names; then `first` is one of them

  // The first one, as PortArgument has it.
  [[nodiscard]] PortArgument argument() const;
  [[nodiscard]] ReachPort view() const;
};

// Collects ranges of ports and cuts them into pieces that no range divides.
class ReachPortCollector {
 public:
  // What an entry of the policy map is about.
  void add(const sluice_policy_key& key);
  void add(const kube::ContainerPort& port);
  // All that another one has.
  void add(const ReachPortCollector& other);
  // The pieces in order, and for every protocol, TCP and UDP at least, what is
  // in no range.
  [[nodiscard]] std::vector<ReachPorts> pieces() const;

 private:
  struct Range {
    std::uint16_t first = 0;
    std::uint16_t last = 0;
    auto operator<=>(const Range&) const = default;
  };
  struct OfProtocol {
    std::uint8_t protocol = 0;
    std::set<Range> ranges;
  };
  std::set<Range>* ranges_of(std::uint8_t protocol);
  static void add_pieces(const OfProtocol& of, std::vector<ReachPorts>& pieces);

  std::vector<OfProtocol> protocols_;  // as many as are in use
};

// Those that the user names, each once. A name stands for every port to which a
// container of the pods gives it.
Result<std::vector<ReachPorts>> parse_reach_ports(
    const std::vector<std::string>& texts,
    const std::vector<const kube::Pod*>& pods);

}  // namespace sluice::explain
