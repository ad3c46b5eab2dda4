// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "agent/map_table.h"
#include "lib/base/result.h"
#include "sluice/abi.h"

namespace sluice::agent {

struct DatapathOptions {
  // bpffs folder that holds the pins (a folder per abi version is made in it);
  // empty: nothing is pinned and everything ends with this object.
  std::filesystem::path pin_dir;
  // Capacities, in entries. A longest-prefix map is made one larger: before
  // Linux 6.13 a full one refuses to replace its elements.
  std::uint32_t policy_entries = 262144;
  std::uint32_t peers = 131072;         // of each family
  std::uint32_t prefixes = 65536;       // of each family
  std::uint32_t conntrack = 262144;     // of each family
  std::uint32_t origins = 65536;        // masqueraded flows, of each family
  std::uint32_t fragments = 8192;       // of each family
  std::uint32_t event_bytes = 1 << 20;  // ring buffer; a power of two
  std::uint32_t names = 16384;          // DNS names that pods have asked for
  std::uint32_t dns_bytes = 1 << 20;    // ring buffer; a power of two
};

// The loaded BPF object: owns its programs' and maps' descriptors and the
// mapped arrays. Pins outlive it. Movable; used by one thread, but state() and
// endpoints() may be read by any.
class Datapath {
 public:
  // Loads the programs. Maps pinned under pin_dir are reused; missing ones are
  // created and pinned. A pinned map whose capacity differs from the options is
  // kept; capacity() returns its actual capacity. On failure nothing that
  // existed before is changed.
  static Result<Datapath> load(const DatapathOptions& options);

  Datapath(Datapath&&) noexcept;
  Datapath& operator=(Datapath&&) noexcept;
  Datapath(const Datapath&) = delete;
  Datapath& operator=(const Datapath&) = delete;
  ~Datapath();

  [[nodiscard]] int map_fd(Map map) const;
  // The number of entries that the map may hold: max_entries minus the reserve.
  [[nodiscard]] std::uint32_t capacity(Map map) const;
  // tc programs for packets from the pod (clsact ingress of the host-side veth,
  // direction egress) and to the pod (clsact egress).
  [[nodiscard]] int from_pod_fd() const;
  [[nodiscard]] int to_pod_fd() const;
  // Loads the programs that read DNS messages and look names up, which takes
  // the verifier as long as all others; nothing happens if they are loaded.
  // They are not pinned: `jumps` keeps those of an earlier process until these
  // replace them. On failure nothing is changed.
  Result<void> load_names();
  // Sends a frame on its way again that a program has held; for
  // BPF_PROG_TEST_RUN, see bpf/dns_held.bpf.h. -1 before load_names().
  [[nodiscard]] int resend_fd() const;
  // Jiffies per second, the unit of sluice_conntrack.last_seen.
  [[nodiscard]] std::uint32_t hz() const;

  // Mapped, never null, SLUICE_ENDPOINTS_MAX elements. Written by the applier.
  [[nodiscard]] sluice_state* state() const;
  [[nodiscard]] sluice_endpoint* endpoints() const;
  // Mapped, never null, SLUICE_FLOW_CACHE_SLOTS elements. Written by programs
  // at any moment.
  [[nodiscard]] sluice_flow_slot* flow_cache() const;
  // The same, SLUICE_FLOW_HINTS_ELEMENTS elements.
  [[nodiscard]] sluice_flow_hints* flow_hints() const;

 private:
  Datapath();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::agent
