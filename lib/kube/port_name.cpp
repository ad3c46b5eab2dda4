// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/port_name.h"

#include <algorithm>

namespace sluice::kube {
namespace {

constexpr std::size_t kMost = 15;

bool is_letter(char c) {
  return c >= 'a' && c <= 'z';
}

bool is_allowed(char c) {
  return is_letter(c) || (c >= '0' && c <= '9') || c == '-';
}

}  // namespace

bool is_port_name(std::string_view text) {
  return text.size() <= kMost && std::ranges::all_of(text, is_allowed) &&
         std::ranges::any_of(text, is_letter) && text.front() != '-' &&
         text.back() != '-' && text.find("--") == std::string_view::npos;
}

}  // namespace sluice::kube
