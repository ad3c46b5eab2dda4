// SPDX-License-Identifier: Apache-2.0
#include "lib/health/listener.h"

#include <cstring>

#include <netinet/in.h>
#include <sys/socket.h>

namespace sluice::health {
namespace {

// Returns the address in the family of the socket.
sockaddr_storage socket_address(const IpAndPort& endpoint, bool v6) {
  sockaddr_storage result{};
  const auto& bytes = endpoint.address.bytes;
  if (v6) {
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(endpoint.port);
    std::memcpy(&address.sin6_addr, bytes.data(), sizeof(address.sin6_addr));
    std::memcpy(&result, &address, sizeof(address));
  } else {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(endpoint.port);
    std::memcpy(&address.sin_addr, bytes.data(), sizeof(address.sin_addr));
    std::memcpy(&result, &address, sizeof(address));
  }
  return result;
}

Result<Fd> listen_at(const IpAndPort& endpoint) {
  constexpr int kType = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  constexpr int kOn = 1;
  constexpr int kOff = 0;
  const bool everywhere = endpoint.address.bytes == IpAddress{}.bytes;
  Fd listener;
  if (everywhere || endpoint.address.v6) {
    listener = Fd(::socket(AF_INET6, kType, 0));
  }
  const bool v6 = listener.valid();
  if (!v6 && (everywhere || !endpoint.address.v6)) {
    listener = Fd(::socket(AF_INET, kType, 0));
  }
  if (!listener.valid()) {
    return fail_errno("socket");
  }
  const auto address = socket_address(endpoint, v6);
  ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &kOn, sizeof(kOn));
  if (v6) {
    ::setsockopt(listener.get(), IPPROTO_IPV6, IPV6_V6ONLY, &kOff,
                 sizeof(kOff));
  }
  if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address),
             v6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in)) != 0 ||
      ::listen(listener.get(), SOMAXCONN) != 0) {
    return fail_errno("cannot listen there");
  }
  return listener;
}

}  // namespace

Result<Listener> Listener::open(const std::string& address) {
  const auto endpoint = parse_ip_and_port(address);
  if (!endpoint) {
    return fail(address + ": not an address and a port");
  }
  auto fd = listen_at(*endpoint);
  if (!fd) {
    return with_context(address, fd.error());
  }
  sockaddr_in6 bound{};  // its port is where sockaddr_in has it
  socklen_t size = sizeof(bound);
  if (::getsockname(fd->get(), reinterpret_cast<sockaddr*>(&bound), &size) !=
      0) {
    return fail_errno("getsockname");
  }
  return Listener(std::move(*fd), endpoint->address, ntohs(bound.sin6_port));
}

}  // namespace sluice::health
