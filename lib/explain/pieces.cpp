// SPDX-License-Identifier: Apache-2.0
#include "lib/explain/pieces.h"

#include <algorithm>
#include <iterator>
#include <optional>

namespace sluice::explain {
namespace {

using Iterator = std::vector<IpPrefix>::const_iterator;

// The pieces of `whole`. `next` is the first prefix within it, and afterwards
// the first that is not.
std::vector<Piece> pieces_within(const IpPrefix& whole, Iterator& next,
                                 Iterator end) {
  std::vector<Piece> inner;
  // The lowest address that no inner prefix covers, as far as these are known.
  std::optional<IpAddress> lowest = whole.address;
  while (next != end && whole.contains(*next)) {
    const IpPrefix child = *next++;
    if (lowest && child.contains(*lowest)) {
      lowest = address_after(child);
    }
    std::ranges::move(pieces_within(child, next, end),
                      std::back_inserter(inner));
  }
  if (lowest && whole.contains(*lowest)) {
    inner.insert(inner.begin(), {.prefix = whole, .sample = *lowest});
  }
  return inner;
}

}  // namespace

std::optional<IpAddress> address_after(const IpPrefix& prefix) {
  IpAddress address = prefix.address;
  for (int bit = prefix.length - 1; bit >= 0; --bit) {
    auto& byte = address.bytes.at(static_cast<std::size_t>(bit / 8));
    const auto mask = static_cast<std::uint8_t>(0x80U >> (bit % 8));
    byte ^= mask;
    if ((byte & mask) != 0) {
      return address;
    }
  }
  return std::nullopt;
}

std::vector<Piece> pieces_of(const IpPrefix& prefix,
                             const std::vector<IpPrefix>& known) {
  std::vector<IpPrefix> within;
  std::ranges::copy_if(
      known, std::back_inserter(within),
      [&](const IpPrefix& other) { return prefix.contains(other); });
  std::ranges::sort(within);
  auto next = within.cbegin();
  return pieces_within(prefix, next, within.cend());
}

}  // namespace sluice::explain
