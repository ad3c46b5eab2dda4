// SPDX-License-Identifier: Apache-2.0
// An SCTP association for tests in guests, whose tools know none:
//   sctp_probe listen PORT            accepts for ever, both families
//   sctp_probe connect ADDRESS PORT   0 if it is set up within two seconds
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "lib/base/fd.h"
#include "lib/base/ip.h"

namespace {

using sluice::Fd;

constexpr int kPatienceMs = 2000;

// IPv4 addresses as they are written in IPv6: one socket serves both.
sockaddr_in6 address(const sluice::IpAddress& ip, std::uint16_t port) {
  sockaddr_in6 result{};
  result.sin6_family = AF_INET6;
  result.sin6_port = htons(port);
  auto* bytes = std::data(result.sin6_addr.s6_addr);
  if (ip.v6) {
    std::memcpy(bytes, ip.bytes.data(), 16);
  } else {
    std::memset(bytes + 10, 0xff, 2);
    std::memcpy(bytes + 12, ip.bytes.data(), 4);
  }
  return result;
}

int listen_at(std::uint16_t port) {
  const Fd fd(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_SCTP));
  sockaddr_in6 any{};
  any.sin6_family = AF_INET6;
  any.sin6_port = htons(port);
  if (!fd.valid() ||
      bind(fd.get(), reinterpret_cast<const sockaddr*>(&any), sizeof(any)) !=
          0 ||
      listen(fd.get(), 16) != 0) {
    std::perror("sctp_probe: listen");
    return 1;
  }
  for (;;) {
    const Fd peer(accept4(fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!peer.valid() && errno != EINTR && errno != ECONNABORTED) {
      std::perror("sctp_probe: accept");
      return 1;
    }
  }
}

int connect_to(const sluice::IpAddress& ip, std::uint16_t port) {
  const Fd fd(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                     IPPROTO_SCTP));
  const auto to = address(ip, port);
  if (!fd.valid() || (connect(fd.get(), reinterpret_cast<const sockaddr*>(&to),
                              sizeof(to)) != 0 &&
                      errno != EINPROGRESS)) {
    std::perror("sctp_probe: connect");
    return 1;
  }
  pollfd wait{.fd = fd.get(), .events = POLLOUT, .revents = 0};
  int error = 0;
  socklen_t size = sizeof(error);
  const bool up =
      poll(&wait, 1, kPatienceMs) == 1 &&
      getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 &&
      error == 0;
  return up ? 0 : 1;
}

int usage() {
  std::fputs("sctp_probe: listen PORT | connect ADDRESS PORT\n", stderr);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  const auto port = [&](int index) {
    return static_cast<std::uint16_t>(std::strtoul(argv[index], nullptr, 10));
  };
  if (argc == 3 && std::string_view(argv[1]) == "listen") {
    return listen_at(port(2));
  }
  if (argc == 4 && std::string_view(argv[1]) == "connect") {
    const auto ip = sluice::parse_ip(argv[2]);
    return ip ? connect_to(*ip, port(3)) : usage();
  }
  return usage();
}
