// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "agent/datapath.h"
#include "agent/dns/assembly.h"
#include "agent/dns/message.h"
#include "lib/base/durations.h"
#include "lib/base/result.h"
#include "sluice/abi.h"

struct perf_buffer;

namespace sluice::agent {

// The DNS packets that the programs have held for the agent; see
// bpf/dns_held.bpf.h. Every one of them is sent on its way again, whatever is
// in it. As long as there is such an object, the programs hold packets; the
// kernel sees to it that they stop when the process ends, however it does.
//
// One thread.
class HeldMessages {
 public:
  // What is to happen before a packet is sent on.
  struct Handlers {
    // The programs will read the answer, whose names they have to know.
    std::function<void(const Answer&)> meet;
    // The programs will not read the message. Returns true if it answers a
    // question, which is answered from now on.
    std::function<bool(std::uint32_t ifindex, const DnsMessage&)> learn;
  };
  struct Counters {
    std::uint64_t held = 0;    // packets
    std::uint64_t resent = 0;  // of these
    std::uint64_t lost = 0;    // packets that were lost on the way here
    Durations hold_times;      // of those sent on, until they were
  };

  // The datapath must have the programs for names, and outlive the object.
  static Result<std::unique_ptr<HeldMessages>> open(const Datapath& datapath,
                                                    Handlers handlers);
  HeldMessages(const HeldMessages&) = delete;
  HeldMessages& operator=(const HeldMessages&) = delete;
  HeldMessages(HeldMessages&&) = delete;
  HeldMessages& operator=(HeldMessages&&) = delete;
  ~HeldMessages();

  // Readable when a packet is held.
  [[nodiscard]] int fd() const;
  // Handles the packets that are held. Never waits.
  void dispatch();
  // Gives up parts of messages whose rest has not come for long. `now`: seconds
  // of CLOCK_MONOTONIC.
  void forget_old(std::uint32_t now);
  [[nodiscard]] const Counters& counters() const { return counters_; }

 private:
  HeldMessages(const Datapath& datapath, Handlers handlers);
  void handle(const sluice_dns_event& event, std::span<const std::byte> data);
  void read(const sluice_dns_event& event, std::span<const std::byte> frame);
  void count_answered(std::uint32_t endpoint) const;
  [[nodiscard]] Result<void> send_on(const sluice_dns_event& event,
                                     std::vector<std::byte> frame) const;
  [[nodiscard]] Result<void> send(const sluice_dns_event& event,
                                  std::span<const std::byte> frame) const;
  // Called by libbpf; they must not throw.
  static void on_held(void* self, int cpu, void* data, __u32 size) noexcept;
  static void on_lost(void* self, int cpu, __u64 count) noexcept;

  struct Deleter {
    void operator()(perf_buffer* buffer) const;
  };

  int resend_fd_;
  std::span<sluice_endpoint> endpoints_;
  Handlers handlers_;
  std::unique_ptr<perf_buffer, Deleter> buffer_;
  std::map<std::uint32_t, Assembly> assemblies_;  // by interface
  Counters counters_;
};

}  // namespace sluice::agent
