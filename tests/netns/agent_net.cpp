// SPDX-License-Identifier: Apache-2.0
#include "agent_net.h"

#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

namespace sluice::agent::test {
namespace {

// What is lost is missed after this long; what is not takes microseconds.
constexpr int kLostMs = 300;

[[noreturn]] void give_up(const std::string& what) {
  std::perror(what.c_str());
  std::abort();
}

void make_pair(const Pod& pod) {
  run("ip link add " + pod.interface + " type veth peer name eth0 netns " +
      pod.ns.path());
}

// Runs a command inside the pod.
void run_in(const Pod& pod, const std::string& command) {
  const auto here = Namespace::current();
  pod.ns.enter();
  run(command);
  here.enter();
}

// Addresses are usable at once.
void quiet(const Pod& pod) {
  const auto here = Namespace::current();
  pod.ns.enter();
  sysctl("net/ipv6/conf/eth0/accept_dad", "0");
  run("ip link set lo up");
  run("ip link set eth0 up");
  here.enter();
  sysctl("net/ipv6/conf/" + pod.interface + "/accept_dad", "0");
  run("ip link set " + pod.interface + " up");
}

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

Address address(const std::string& ip, bool v6, std::uint16_t port) {
  Address result;
  if (v6) {
    sockaddr_in6 in6{};
    in6.sin6_family = AF_INET6;
    in6.sin6_port = htons(port);
    inet_pton(AF_INET6, ip.c_str(), &in6.sin6_addr);
    std::memcpy(&result.storage, &in6, sizeof(in6));
    result.size = sizeof(in6);
  } else {
    sockaddr_in in4{};
    in4.sin_family = AF_INET;
    in4.sin_port = htons(port);
    inet_pton(AF_INET, ip.c_str(), &in4.sin_addr);
    std::memcpy(&result.storage, &in4, sizeof(in4));
    result.size = sizeof(in4);
  }
  return result;
}

Fd bound_socket(const Pod& pod, bool v6, std::uint16_t port) {
  const auto here = Namespace::current();
  pod.ns.enter();
  Fd fd(socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  here.enter();
  const auto own = address(v6 ? pod.ipv6 : pod.ipv4, v6, port);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&own.storage),
           own.size) != 0) {
    give_up("bind");
  }
  return fd;
}

}  // namespace

Namespace Namespace::current() {
  Namespace result;
  result.fd_.reset(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!result.fd_.valid()) {
    give_up("/proc/self/ns/net");
  }
  return result;
}

Namespace Namespace::fresh() {
  const auto here = current();
  if (unshare(CLONE_NEWNET) != 0) {
    give_up("unshare");
  }
  auto result = current();
  here.enter();
  return result;
}

void Namespace::enter() const {
  if (setns(fd_.get(), CLONE_NEWNET) != 0) {
    give_up("setns");
  }
}

std::string Namespace::path() const {
  return "/proc/" + std::to_string(getpid()) + "/fd/" +
         std::to_string(fd_.get());
}

void run(const std::string& command) {
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
}

void sysctl(const std::string& name, const std::string& value) {
  std::ofstream file("/proc/sys/" + name);
  file << value << std::flush;
  ASSERT_TRUE(file.good()) << name;
}

std::uint32_t ifindex_of(const std::string& name) {
  return if_nametoindex(name.c_str());
}

Pod routed_pod(const std::string& interface, const std::string& ipv4,
               const std::string& ipv6) {
  Pod pod{.ns = Namespace::fresh(),
          .interface = interface,
          .ipv4 = ipv4,
          .ipv6 = ipv6};
  make_pair(pod);
  quiet(pod);
  run("ip address add 169.254.1.1/32 dev " + interface);
  run("ip -6 address add fe80::1/64 dev " + interface + " nodad");
  run("ip route add " + ipv4 + "/32 dev " + interface);
  run("ip -6 route add " + ipv6 + "/128 dev " + interface);
  run_in(pod, "ip address add " + ipv4 + "/32 dev eth0");
  run_in(pod, "ip -6 address add " + ipv6 + "/128 dev eth0 nodad");
  run_in(pod, "ip route add 169.254.1.1 dev eth0");
  run_in(pod, "ip route add default via 169.254.1.1");
  run_in(pod, "ip -6 route add default via fe80::1 dev eth0");
  return pod;
}

void make_bridge(const std::string& name) {
  run("ip link add " + name + " type bridge");
  sysctl("net/ipv6/conf/" + name + "/accept_dad", "0");
  run("ip link set " + name + " up");
  run("ip address add 10.9.0.1/24 dev " + name);
  run("ip -6 address add fd09::1/64 dev " + name + " nodad");
}

Pod bridged_pod(const std::string& bridge, const std::string& interface,
                const std::string& ipv4, const std::string& ipv6) {
  Pod pod{.ns = Namespace::fresh(),
          .interface = interface,
          .ipv4 = ipv4,
          .ipv6 = ipv6};
  make_pair(pod);
  run("ip link set " + interface + " master " + bridge);
  quiet(pod);
  run_in(pod, "ip address add " + ipv4 + "/24 dev eth0");
  run_in(pod, "ip -6 address add " + ipv6 + "/64 dev eth0 nodad");
  return pod;
}

bool reaches(const Pod& from, const Pod& to, bool v6, std::uint16_t port) {
  const Fd server = bound_socket(to, v6, port);
  const Fd client = bound_socket(from, v6, 0);
  const auto target = address(v6 ? to.ipv6 : to.ipv4, v6, port);
  const char byte = 'x';
  if (sendto(client.get(), &byte, 1, 0,
             reinterpret_cast<const sockaddr*>(&target.storage),
             target.size) != 1) {
    return false;
  }
  pollfd wait{.fd = server.get(), .events = POLLIN, .revents = 0};
  return poll(&wait, 1, kLostMs) == 1;
}

PrivateBpffs::PrivateBpffs() {
  std::string name = "/tmp/sluice-agent-test-XXXXXX";
  if (unshare(CLONE_NEWNS) != 0 ||
      mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mkdtemp(name.data()) == nullptr ||
      mount("bpf", name.c_str(), "bpf", 0, nullptr) != 0) {
    give_up("private bpffs");
  }
  folder_ = name;
}

PrivateBpffs::~PrivateBpffs() {
  umount2(folder_.c_str(), MNT_DETACH);
  rmdir(folder_.c_str());
}

}  // namespace sluice::agent::test
