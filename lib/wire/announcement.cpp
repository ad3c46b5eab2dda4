// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/announcement.h"

#include <algorithm>
#include <string_view>

#include "lib/wire/codec.h"

namespace sluice::wire {
namespace {

constexpr std::size_t kNameMax = 253;  // Kubernetes'
constexpr std::size_t kInterfaceMax = 15;

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= kNameMax &&
         std::ranges::all_of(text, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '.';
         });
}

Result<IpAddress> pods_ip_of(std::string_view bytes) {
  const auto ip = ip_of(bytes);
  if (!ip) {
    return fail("an address of " + std::to_string(bytes.size()) + " bytes");
  }
  if (!may_be_pods(*ip)) {
    return fail("no pod has the address " + to_string(*ip));
  }
  return *ip;
}

}  // namespace

bool may_be_pods(const IpAddress& ip) {
  const auto& b = ip.bytes;
  if (!ip.v6) {
    constexpr std::uint8_t kMulticast = 224;
    return b[0] != 0 && b[0] != 127 && b[0] < kMulticast &&
           (b[0] != 169 || b[1] != 254);
  }
  // A mapped address stands for IPv4 packets.
  const bool low = std::all_of(b.begin(), b.begin() + 10,
                               [](std::uint8_t byte) { return byte == 0; });
  return !low && b[0] != 0xff && (b[0] != 0xfe || (b[1] & 0xc0) != 0x80);
}

v1::PodAddress encode(const PodAddress& pod) {
  v1::PodAddress message;
  message.set_pod_namespace(pod.ns);
  message.set_pod_name(pod.name);
  message.set_uid(pod.uid);
  for (const auto& ip : pod.ips) {
    append_bytes(*message.add_ips(), ip);
  }
  message.set_interface(pod.interface);
  return message;
}

namespace {

Result<PodAddress> decode_one(const v1::PodAddress& message) {
  if (!is_name(message.pod_namespace()) || !is_name(message.pod_name()) ||
      (!message.uid().empty() && !is_name(message.uid())) ||
      message.interface().size() > kInterfaceMax) {
    return fail("announcement: not a pod's name, uid or interface");
  }
  PodAddress pod{.ns = message.pod_namespace(),
                 .name = message.pod_name(),
                 .uid = message.uid(),
                 .ips = {},
                 .interface = message.interface()};
  for (const auto& bytes : message.ips()) {
    const auto ip = pods_ip_of(bytes);
    if (!ip) {
      return with_context("announcement of " + pod.ns + "/" + pod.name,
                          ip.error());
    }
    if (std::ranges::any_of(pod.ips, [&](const IpAddress& other) {
          return other.v6 == ip->v6;
        })) {
      return fail("announcement of " + pod.ns + "/" + pod.name +
                  ": two addresses of one family");
    }
    pod.ips.push_back(*ip);
  }
  return pod;
}

}  // namespace

Result<std::vector<PodAddress>> decode(const v1::PodAddresses& message) {
  std::vector<PodAddress> pods;
  for (const auto& from : message.pods()) {
    auto pod = decode_one(from);
    if (!pod) {
      return std::unexpected(pod.error());
    }
    pods.push_back(std::move(*pod));
  }
  return pods;
}

}  // namespace sluice::wire
