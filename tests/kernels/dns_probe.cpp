// SPDX-License-Identifier: Apache-2.0
// DNS for tests in guests, whose tools know no server and no question by TCP:
//   dns_probe serve IPV4 IPV6           answers for ever, both families, UDP
//   and
//                                       TCP: every name has these addresses
//   dns_probe ask udp|tcp 4|6 SERVER NAME   4: A, 6: AAAA. 0 if there is an
//                                       address, 3 if the question is refused
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "lib/base/fd.h"
#include "lib/base/ip.h"

namespace {

using sluice::Fd;
using Bytes = std::vector<std::uint8_t>;

constexpr std::uint16_t kPort = 53;
constexpr int kPatienceSeconds = 10;
constexpr int kServerSeconds = 1;  // a refused question never comes
constexpr std::size_t kHeader = 12;
constexpr std::size_t kLargest = 4096;
constexpr int kRefused = 3;  // exit status

// IPv4 addresses as they are written in IPv6: one socket serves both.
sockaddr_in6 at(const std::optional<sluice::IpAddress>& ip) {
  sockaddr_in6 result{};
  result.sin6_family = AF_INET6;
  result.sin6_port = htons(kPort);
  auto* bytes = std::data(result.sin6_addr.s6_addr);
  if (ip && ip->v6) {
    std::memcpy(bytes, ip->bytes.data(), 16);
  } else if (ip) {
    std::memset(bytes + 10, 0xff, 2);
    std::memcpy(bytes + 12, ip->bytes.data(), 4);
  }
  return result;
}

const sockaddr* as_address(const sockaddr_in6& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

// Id 7, recursion desired, one question.
Bytes question(std::string_view name, std::uint8_t type) {
  Bytes result{0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0};
  while (!name.empty()) {
    const auto label = name.substr(0, name.find('.'));
    result.push_back(static_cast<std::uint8_t>(label.size()));
    result.insert(result.end(), label.begin(), label.end());
    name.remove_prefix(std::min(label.size() + 1, name.size()));
  }
  result.insert(result.end(), {0, 0, type, 0, 1});
  return result;
}

// The question, which has nothing behind it, and one record.
Bytes answer(Bytes message, const sluice::IpAddress& ipv4,
             const sluice::IpAddress& ipv6) {
  const bool v6 = message.at(message.size() - 3) == 28;
  const auto address = std::span((v6 ? ipv6 : ipv4).bytes).first(v6 ? 16U : 4U);
  message.at(2) = 0x81;
  message.at(3) = 0x80;
  message.at(7) = 1;
  message.insert(message.end(),
                 {0xc0, kHeader, 0, static_cast<std::uint8_t>(v6 ? 28 : 1), 0,
                  1, 0, 0, 0, 60, 0, static_cast<std::uint8_t>(v6 ? 16 : 4)});
  message.insert(message.end(), address.begin(), address.end());
  return message;
}

// As it stands in a TCP stream.
Bytes framed(const Bytes& message) {
  Bytes result(2 + message.size());
  result[0] = static_cast<std::uint8_t>(message.size() >> 8U);
  result[1] = static_cast<std::uint8_t>(message.size());
  std::ranges::copy(message, result.begin() + 2);
  return result;
}

// Of TCP, one that comes in one segment; empty if there is none.
Bytes receive(int fd, bool stream) {
  Bytes result(kLargest);
  const auto size = recv(fd, result.data(), result.size(), 0);
  const std::size_t prefix = stream ? 2 : 0;
  if (size < static_cast<ssize_t>(prefix + kHeader)) {
    return {};
  }
  result.resize(static_cast<std::size_t>(size));
  result.erase(result.begin(),
               result.begin() + static_cast<std::ptrdiff_t>(prefix));
  return result;
}

bool limit(const Fd& fd, int seconds) {
  const timeval patience{.tv_sec = seconds, .tv_usec = 0};
  return setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience,
                    sizeof(patience)) == 0;
}

Fd socket_of(bool stream) {
  return Fd(
      socket(AF_INET6, (stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0));
}

int serve(const sluice::IpAddress& ipv4, const sluice::IpAddress& ipv6) {
  const Fd datagrams = socket_of(false);
  const Fd listener = socket_of(true);
  const auto any = at(std::nullopt);
  const int on = 1;
  for (const int fd : {datagrams.get(), listener.get()}) {
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, as_address(any), sizeof(any)) != 0) {
      std::perror("dns_probe: bind");
      return 1;
    }
  }
  if (listen(listener.get(), 16) != 0) {
    std::perror("dns_probe: listen");
    return 1;
  }
  std::array<pollfd, 2> waits{
      {{.fd = datagrams.get(), .events = POLLIN, .revents = 0},
       {.fd = listener.get(), .events = POLLIN, .revents = 0}}};
  while (poll(waits.data(), waits.size(), -1) > 0) {
    if (waits[0].revents != 0) {
      sockaddr_in6 from{};
      socklen_t size = sizeof(from);
      Bytes message(kLargest);
      const auto got = recvfrom(datagrams.get(), message.data(), message.size(),
                                0, reinterpret_cast<sockaddr*>(&from), &size);
      if (got >= static_cast<ssize_t>(kHeader)) {
        message.resize(static_cast<std::size_t>(got));
        const auto reply = answer(std::move(message), ipv4, ipv6);
        sendto(datagrams.get(), reply.data(), reply.size(), 0, as_address(from),
               size);
      }
    }
    if (waits[1].revents != 0) {
      const Fd peer(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      auto message =
          limit(peer, kServerSeconds) ? receive(peer.get(), true) : Bytes();
      if (!message.empty()) {
        const auto reply = framed(answer(std::move(message), ipv4, ipv6));
        send(peer.get(), reply.data(), reply.size(), MSG_NOSIGNAL);
      }
    }
  }
  return 1;
}

int ask(bool stream, std::uint8_t type, const sluice::IpAddress& server,
        std::string_view name) {
  const Fd fd = socket_of(stream);
  const auto to = at(server);
  if (!limit(fd, kPatienceSeconds) ||
      connect(fd.get(), as_address(to), sizeof(to)) != 0) {
    std::perror("dns_probe: connect");
    return 1;
  }
  const auto asked =
      stream ? framed(question(name, type)) : question(name, type);
  if (send(fd.get(), asked.data(), asked.size(), MSG_NOSIGNAL) < 0) {
    std::perror("dns_probe: send");
    return 1;
  }
  const auto reply = receive(fd.get(), stream);
  if (reply.empty()) {
    return stream && errno == ECONNRESET ? kRefused : 1;
  }
  if ((reply[3] & 15U) == 5) {
    return kRefused;
  }
  return reply[7] != 0 ? 0 : 1;
}

int usage() {
  std::fputs("dns_probe: serve IPV4 IPV6 | ask udp|tcp 4|6 SERVER NAME\n",
             stderr);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string_view> words(argv + 1, argv + argc);
  if (words.size() == 3 && words[0] == "serve") {
    const auto ipv4 = sluice::parse_ip(words[1]);
    const auto ipv6 = sluice::parse_ip(words[2]);
    return ipv4 && ipv6 ? serve(*ipv4, *ipv6) : usage();
  }
  if (words.size() == 5 && words[0] == "ask") {
    const auto server = sluice::parse_ip(words[3]);
    const std::uint8_t type = words[2] == "6" ? 28 : 1;
    return server ? ask(words[1] == "tcp", type, *server, words[4]) : usage();
  }
  return usage();
}
