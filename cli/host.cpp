// SPDX-License-Identifier: Apache-2.0
#include "cli/host.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <unistd.h>

namespace sluice::cli {
namespace {

struct FreeAddresses {
  void operator()(ifaddrs* list) const { ::freeifaddrs(list); }
};

std::optional<IpAddress> address_of(const sockaddr* from) {
  IpAddress address;
  if (from == nullptr) {
    return std::nullopt;
  }
  if (from->sa_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, from, sizeof(in));
    std::memcpy(address.bytes.data(), &in.sin_addr, sizeof(in.sin_addr));
    return address;
  }
  if (from->sa_family == AF_INET6) {
    sockaddr_in6 in{};
    std::memcpy(&in, from, sizeof(in));
    if (IN6_IS_ADDR_LINKLOCAL(&in.sin6_addr)) {
      return std::nullopt;
    }
    std::memcpy(address.bytes.data(), &in.sin6_addr, sizeof(in.sin6_addr));
    address.v6 = true;
    return address;
  }
  return std::nullopt;
}

}  // namespace

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) {
    return "localhost";
  }
  return name.data();
}

Result<std::vector<IpAddress>> local_addresses() {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) {
    return fail_errno("getifaddrs");
  }
  const std::unique_ptr<ifaddrs, FreeAddresses> owner(list);
  std::vector<IpAddress> addresses;
  for (const auto* item = list; item != nullptr; item = item->ifa_next) {
    const auto address = address_of(item->ifa_addr);
    // A node's own address may well stand on lo, as a /32 that routes announce.
    if (address && !is_loopback(*address)) {
      addresses.push_back(*address);
    }
  }
  std::ranges::sort(addresses);
  const auto repeated = std::ranges::unique(addresses);
  addresses.erase(repeated.begin(), repeated.end());
  return addresses;
}

}  // namespace sluice::cli
