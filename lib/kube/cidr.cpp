// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/cidr.h"

#include <charconv>
#include <string>

#include "lib/kube/field.h"

namespace sluice::kube {

namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// "203.000.113.010/024" as "203.0.113.10/24".
std::string without_leading_zeros(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at;
    while (end < text.size() && is_digit(text[end])) {
      ++end;
    }
    if (end == at) {
      result += text[at++];
      continue;
    }
    const char before = at == 0 ? ' ' : text[at - 1];
    const char after = end == text.size() ? ' ' : text[end];
    if (before == '.' || before == '/' || after == '.') {
      while (at + 1 < end && text[at] == '0') {
        ++at;
      }
    }
    result += text.substr(at, end - at);
    at = end;
  }
  return result;
}

}  // namespace

Result<Cidr> parse_cidr(std::string_view text) {
  const std::string_view before = text.substr(0, text.find('/'));
  const auto address = parse_ip(before);
  if (address && before.size() == text.size()) {
    return fail("no prefix length in CIDR " + in_quotes(text) + ", write \"" +
                to_string(*address) + "/" + std::to_string(address->bits()) +
                "\"");
  }
  const auto prefix = parse_prefix(text);
  if (!address || !prefix) {
    return fail("unable to parse CIDR " + in_quotes(text));
  }
  if (!address->v6 && before.find(':') != std::string_view::npos) {
    return fail("unable to parse CIDR " + in_quotes(text) +
                ": write the IPv4 address as such");
  }
  return Cidr{.prefix = *prefix, .address = *address};
}

std::optional<IpPrefix> parse_stored_cidr(std::string_view text) {
  const std::string plain = without_leading_zeros(text);
  const auto slash = plain.find('/');
  const auto address = parse_ip(std::string_view(plain).substr(0, slash));
  if (!address || slash == std::string::npos) {
    return std::nullopt;
  }
  const bool mapped = !address->v6 && plain.find(':') < slash;
  if (!mapped) {
    return parse_prefix(plain);
  }
  constexpr int kMappedBits = 96;
  int length = 0;
  const char* const end = plain.data() + plain.size();
  const auto [stop, error] =
      std::from_chars(plain.data() + slash + 1, end, length);
  if (error != std::errc{} || stop != end || length < 0 ||
      length > kMappedBits + 32) {
    return std::nullopt;
  }
  if (length >= kMappedBits) {
    return make_prefix(*address, length - kMappedBits);
  }
  // What is left of ::ffff:0:0 is 80 zeros and up to sixteen ones.
  IpAddress v6{};
  v6.v6 = true;
  v6.bytes[10] = v6.bytes[11] = 0xff;
  return make_prefix(v6, length);
}

}  // namespace sluice::kube
