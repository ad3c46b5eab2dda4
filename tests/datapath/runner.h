// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "agent/datapath.h"
#include "lib/base/ip.h"
#include "lib/base/result.h"
#include "sluice/abi.h"
#include "tests/datapath/packet.h"

// Runs packets through the datapath's programs in the kernel, for one endpoint,
// without any interface. Needs root, no bpffs.
namespace sluice::testing {

// An entry of the endpoint's policy set. Ports in host order.
struct Entry {
  sluice_direction direction = SLUICE_INGRESS;
  std::uint32_t cidr_id = SLUICE_CIDR_ANY;
  std::uint8_t protocol = 0;  // 0 = every protocol
  std::uint16_t port = 0;
  int port_bits = 0;  // how many of the port's bits count; 0 = any port
  sluice_verdict verdict = SLUICE_VERDICT_ALLOW;
  std::uint32_t rule = SLUICE_RULE_FIRST;
  std::uint16_t jump = SLUICE_JUMP_NONE;
};

struct Peer {
  IpPrefix prefix;  // of full length: exact address
  std::uint32_t cidr_id = 0;
};

// The endpoint and all that is in force for it.
struct World {
  bool managed = true;
  std::array<bool, 2> isolated{};  // by direction
  std::vector<Entry> entries;
  std::vector<Peer> peers;
  sluice_on_policy_change on_policy_change = SLUICE_CHANGE_REEVALUATE;
  std::uint32_t permits = 0;        // SLUICE_EP_ANY_ETHERTYPE and the like
  std::uint32_t adopt_seconds = 0;  // from now; 0 = never
};

// Where packets to the endpoint enter the node: somewhere from outside, no
// endpoint's interface.
inline constexpr std::uint32_t kUplink = 4242;
// The node's own network stack makes them.
inline constexpr std::uint32_t kNodeStack = 0;
// The endpoint's own interface: loopback is there in every namespace.
inline constexpr std::uint32_t kOwnInterface = 1;

// False where BPF_PROG_TEST_RUN cannot say by which interface a packet has come
// (Linux 5.10): then every packet to the endpoint looks like the node's own.
bool can_say_where_packets_enter();

// What comes with a packet beside its bytes.
struct Metadata {
  std::uint32_t ingress_ifindex = kUplink;
  std::uint32_t mark = 0;
  std::uint32_t gso_size = 0;  // bytes of a segment; 0: it is to stay whole
};

struct Outcome {
  bool allowed = false;
  // The one reason whose counter grew, by one packet and the packet's length;
  // nullopt if that is not what the counters say.
  std::optional<sluice_reason> reason;
  std::vector<sluice_flow_event> events;
  // What goes back to the sender instead; empty: nothing. Not allowed then.
  Bytes answer;
};

std::string_view reason_name(sluice_reason reason);
bool allows(sluice_reason reason);

// By SLUICE_REASON_SLOT, sums over all processors.
inline constexpr int kReasonSlots = SLUICE_REASON_SLOTS;
using ReasonCounters = std::array<sluice_counter, kReasonSlots>;

// Enough for tests, and soon made.
agent::DatapathOptions small_maps();

class Runner {
 public:
  // Loads the datapath; the endpoint, behind the loopback interface, has these
  // addresses.
  static Result<Runner> create(const IpAddress& ipv4, const IpAddress& ipv6,
                               const agent::DatapathOptions& options);
  Runner(Runner&&) noexcept;
  Runner& operator=(Runner&&) noexcept;
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;
  ~Runner();

  // Puts `world` in force with a new epoch, in place of the one before. State
  // of flows stays. An address of the endpoint that is not of the family is
  // left out.
  Result<void> set(const World& world);
  // Conntrack gives up all flows, as if for others; the flow cache does not.
  void evict_flows();
  void discard_events();
  // Forgets flows, fragments and events.
  Result<void> forget();

  // One packet and everything that it changed. Not for measuring.
  Result<Outcome> run(sluice_direction direction, const Bytes& frame,
                      const Metadata& metadata = {});
  // The verdict only.
  Result<bool> verdict(sluice_direction direction, const Bytes& frame);
  // The same of `program`, which ends in the datapath's program of that
  // direction and has `argument` in cb[0]; there it is `size` bytes long.
  Result<Outcome> run_through(int program, std::uint32_t argument,
                              sluice_direction direction, const Bytes& frame,
                              std::size_t size, const Metadata& metadata = {});

  [[nodiscard]] Result<ReasonCounters> counters() const;
  // Every entry of conntrack of that family.
  [[nodiscard]] Result<std::vector<sluice_conntrack>> flows(bool v6) const;
  // Makes the flows look as if their last packet was so long ago.
  Result<void> age_flows(bool v6, std::uint32_t seconds);
  [[nodiscard]] Result<std::uint64_t> lost_events() const;

  [[nodiscard]] agent::Datapath& datapath() const;

 private:
  Runner();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::testing
