// SPDX-License-Identifier: Apache-2.0
#include "agent_net.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include <linux/if_packet.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/ip.h"
#include "tests/datapath/packet.h"

namespace sluice::agent::test {
namespace {

// What is lost is missed after this long; what is not takes microseconds.
constexpr int kLostMs = 300;

[[noreturn]] void give_up(const std::string& what) {
  std::perror(what.c_str());
  std::abort();
}

void make_pair(const Pod& pod, std::uint32_t index = 0) {
  const std::string number =
      index == 0 ? "" : " index " + std::to_string(index);
  run("ip link add " + pod.interface + number +
      " type veth peer name eth0 netns " + pod.ns.path());
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
  if (!fd.valid() ||
      bind(fd.get(), reinterpret_cast<const sockaddr*>(&own.storage),
           own.size) != 0) {
    give_up("bind");
  }
  return fd;
}

// ---- frames in pages ----

using Mac = std::array<std::uint8_t, 6>;

Mac mac_of(const std::string& interface) {
  const Fd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  interface.copy(std::data(request.ifr_name), IFNAMSIZ - 1);
  if (ioctl(fd.get(), SIOCGIFHWADDR, &request) != 0) {
    give_up("SIOCGIFHWADDR");
  }
  Mac mac{};
  std::memcpy(mac.data(), std::data(request.ifr_hwaddr.sa_data), mac.size());
  return mac;
}

// Of a UDP datagram, with the pseudo header (RFC 8200, 8.1).
std::uint16_t udp_checksum(const IpAddress& from, const IpAddress& to,
                           const testing::Bytes& datagram) {
  testing::Bytes all;
  for (const auto& ip : {from, to}) {
    all.insert(all.end(), ip.bytes.begin(), ip.bytes.begin() + (ip.bits() / 8));
  }
  const auto size = static_cast<std::uint8_t>(datagram.size());
  all.insert(all.end(), {0, size, 0, testing::kUdp});
  all.insert(all.end(), datagram.begin(), datagram.end());
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    sum += i % 2 == 0 ? static_cast<std::uint32_t>(all[i]) << 8 : all[i];
  }
  while (sum >> 16 != 0) {
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<std::uint16_t>(~sum);
}

testing::Bytes udp_frame(const Pod& from, const Pod& to, bool v6,
                         std::uint16_t port, const Mac& next_hop) {
  const testing::Endpoints ends{.from = *parse_ip(v6 ? from.ipv6 : from.ipv4),
                                .to = *parse_ip(v6 ? to.ipv6 : to.ipv4)};
  auto datagram = testing::udp(40000, port);
  const auto sum = udp_checksum(ends.from, ends.to, datagram);
  datagram[6] = static_cast<std::uint8_t>(sum >> 8);
  datagram[7] = static_cast<std::uint8_t>(sum);
  auto frame = testing::ip_frame(ends, testing::kUdp, datagram);
  std::ranges::copy(next_hop, frame.begin());
  return frame;
}

// A ring of frames shared with the kernel, which puts their pages into its
// buffers as they are and copies the link header only.
class FrameRing {
 public:
  explicit FrameRing(int fd) {
    const int version = TPACKET_V2;
    const tpacket_req ring{.tp_block_size = kBytes,
                           .tp_block_nr = 1,
                           .tp_frame_size = kBytes,
                           .tp_frame_nr = 1};
    if (setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) !=
            0 ||
        setsockopt(fd, SOL_PACKET, PACKET_TX_RING, &ring, sizeof(ring)) != 0) {
      give_up("PACKET_TX_RING");
    }
    memory_ = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory_ == MAP_FAILED) {
      give_up("mapping the ring");
    }
  }
  ~FrameRing() { munmap(memory_, kBytes); }
  FrameRing(const FrameRing&) = delete;
  FrameRing& operator=(const FrameRing&) = delete;
  FrameRing(FrameRing&&) = delete;
  FrameRing& operator=(FrameRing&&) = delete;

  void put(const testing::Bytes& frame) const {
    auto* header = static_cast<tpacket2_hdr*>(memory_);
    std::memcpy(static_cast<std::uint8_t*>(memory_) + TPACKET2_HDRLEN -
                    sizeof(sockaddr_ll),
                frame.data(), frame.size());
    header->tp_len = static_cast<__u32>(frame.size());
    __atomic_store_n(&header->tp_status, TP_STATUS_SEND_REQUEST,
                     __ATOMIC_RELEASE);
  }

 private:
  static constexpr unsigned kBytes = 4096;
  void* memory_ = nullptr;
};

bool send_in_pages(const std::string& interface, const testing::Bytes& frame) {
  const Fd fd(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!fd.valid()) {
    give_up("a packet socket");
  }
  const FrameRing ring(fd.get());
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_ifindex = static_cast<int>(ifindex_of(interface));
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0) {
    give_up("binding a packet socket");
  }
  ring.put(frame);
  return send(fd.get(), nullptr, 0, 0) == static_cast<ssize_t>(frame.size());
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
               const std::string& ipv6, std::uint32_t index) {
  Pod pod{.ns = Namespace::fresh(),
          .interface = interface,
          .ipv4 = ipv4,
          .ipv6 = ipv6};
  make_pair(pod, index);
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

bool reaches_in_pages(const Pod& from, const Pod& to, bool v6,
                      std::uint16_t port) {
  const Fd server = bound_socket(to, v6, port);
  const auto next_hop = mac_of(from.interface);
  const auto here = Namespace::current();
  from.ns.enter();
  const bool sent =
      send_in_pages("eth0", udp_frame(from, to, v6, port, next_hop));
  here.enter();
  pollfd wait{.fd = server.get(), .events = POLLIN, .revents = 0};
  return sent && poll(&wait, 1, kLostMs) == 1;
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
