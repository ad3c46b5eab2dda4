// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/icmp_types.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <span>

namespace sluice::policy {
namespace {

struct IcmpName {
  std::string_view name;
  std::uint8_t type;
};

// Names that CiliumNetworkPolicy accepts; numbers from IANA's registries.
constexpr std::array kIcmp4Names{
    IcmpName{"EchoReply", 0},
    IcmpName{"DestinationUnreachable", 3},
    IcmpName{"Redirect", 5},
    IcmpName{"Echo", 8},
    IcmpName{"EchoRequest", 8},
    IcmpName{"RouterAdvertisement", 9},
    IcmpName{"RouterSelection", 10},
    IcmpName{"TimeExceeded", 11},
    IcmpName{"ParameterProblem", 12},
    IcmpName{"Timestamp", 13},
    IcmpName{"TimestampReply", 14},
    IcmpName{"Photuris", 40},
    // The blank is a mistake in the resource's schema that has become part of
    // the name.
    IcmpName{"ExtendedEcho Request", 42},
    IcmpName{"ExtendedEchoRequest", 42},
    IcmpName{"ExtendedEcho Reply", 43},
    IcmpName{"ExtendedEchoReply", 43},
};

constexpr std::array kIcmp6Names{
    IcmpName{"DestinationUnreachable", 1},
    IcmpName{"PacketTooBig", 2},
    IcmpName{"TimeExceeded", 3},
    IcmpName{"ParameterProblem", 4},
    IcmpName{"EchoRequest", 128},
    IcmpName{"EchoReply", 129},
    IcmpName{"MulticastListenerQuery", 130},
    IcmpName{"MulticastListenerReport", 131},
    IcmpName{"MulticastListenerDone", 132},
    IcmpName{"RouterSolicitation", 133},
    IcmpName{"RouterAdvertisement", 134},
    IcmpName{"NeighborSolicitation", 135},
    IcmpName{"NeighborAdvertisement", 136},
    IcmpName{"RedirectMessage", 137},
    IcmpName{"RouterRenumbering", 138},
    IcmpName{"ICMPNodeInformationQuery", 139},
    IcmpName{"ICMPNodeInformationResponse", 140},
    IcmpName{"InverseNeighborDiscoverySolicitation", 141},
    IcmpName{"InverseNeighborDiscoveryAdvertisement", 142},
    IcmpName{"HomeAgentAddressDiscoveryRequest", 144},
    IcmpName{"HomeAgentAddressDiscoveryReply", 145},
    IcmpName{"MobilePrefixSolicitation", 146},
    IcmpName{"MobilePrefixAdvertisement", 147},
    IcmpName{"DuplicateAddressRequestCodeSuffix", 157},
    IcmpName{"DuplicateAddressConfirmationCodeSuffix", 158},
    IcmpName{"ExtendedEchoRequest", 160},
    IcmpName{"ExtendedEchoReply", 161},
};

}  // namespace

std::optional<std::uint8_t> icmp_type(std::string_view text, bool v6) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  if (!text.empty() && text.size() <= 3 &&
      std::ranges::all_of(text, is_digit) &&
      (text.size() == 1 || text.front() != '0')) {
    int number = 0;
    std::from_chars(text.data(), text.data() + text.size(), number);
    return number <= UINT8_MAX ? std::optional(std::uint8_t(number))
                               : std::nullopt;
  }
  const std::span<const IcmpName> names =
      v6 ? std::span<const IcmpName>(kIcmp6Names)
         : std::span<const IcmpName>(kIcmp4Names);
  const auto found = std::ranges::find(names, text, &IcmpName::name);
  return found == names.end() ? std::nullopt : std::optional(found->type);
}

}  // namespace sluice::policy
