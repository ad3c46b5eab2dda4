// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "lib/base/fd.h"

// Network namespaces, veths and a bpffs of the test's own. All of it goes with
// the process, however it ends.
namespace sluice::agent::test {

class Namespace {
 public:
  // A new one; the caller stays where it is.
  static Namespace fresh();
  // The one the caller is in.
  static Namespace current();

  void enter() const;
  // For `ip link ... netns <path>`.
  [[nodiscard]] std::string path() const;

 private:
  Fd fd_;
};

// Runs `command` by the shell; fails the test if it fails.
void run(const std::string& command);
// Writes a file under /proc/sys of the current network namespace.
void sysctl(const std::string& name, const std::string& value);
std::uint32_t ifindex_of(const std::string& name);

// A pod: a namespace with eth0, whose host side is `interface` in the namespace
// that was current when it was made.
struct Pod {
  Namespace ns;
  std::string interface;
  std::string ipv4;
  std::string ipv6;
};
// Routed, as ptp does: host routes to the pod, a default route out of it.
// `index`: the number of the host side's interface; 0 = the next.
Pod routed_pod(const std::string& interface, const std::string& ipv4,
               const std::string& ipv6, std::uint32_t index = 0);
// On a bridge, which has the pods' subnets.
void make_bridge(const std::string& name);
Pod bridged_pod(const std::string& bridge, const std::string& interface,
                const std::string& ipv4, const std::string& ipv6);

// Sends one UDP datagram from one pod to another. True if it arrives within the
// time that a lost one takes to be missed.
bool reaches(const Pod& from, const Pod& to, bool v6, std::uint16_t port);
// The same with a datagram that has nothing but its Ethernet header in the
// linear part of the kernel's buffer; what follows is in a page beside it. One
// such packet looks empty to a program that reads packets in place.
bool reaches_in_pages(const Pod& from, const Pod& to, bool v6,
                      std::uint16_t port);

// A bpffs that nobody else sees.
class PrivateBpffs {
 public:
  PrivateBpffs();
  ~PrivateBpffs();
  PrivateBpffs(const PrivateBpffs&) = delete;
  PrivateBpffs& operator=(const PrivateBpffs&) = delete;
  PrivateBpffs(PrivateBpffs&&) = delete;
  PrivateBpffs& operator=(PrivateBpffs&&) = delete;
  [[nodiscard]] std::filesystem::path pin_dir() const {
    return folder_ / "sluice";
  }

 private:
  std::filesystem::path folder_;
};

}  // namespace sluice::agent::test
