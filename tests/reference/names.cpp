// SPDX-License-Identifier: Apache-2.0
#include "tests/reference/names.h"

#include <string_view>

namespace sluice::reference {
namespace {

std::string plain(std::string name) {
  if (name.ends_with('.')) {
    name.pop_back();
  }
  return lower(name);
}

// A star is any number of characters that are no dots.
bool glob(std::string_view pattern, std::string_view name) {
  if (pattern.empty()) {
    return name.empty();
  }
  if (pattern.front() != '*') {
    return !name.empty() && name.front() == pattern.front() &&
           glob(pattern.substr(1), name.substr(1));
  }
  return glob(pattern.substr(1), name) ||
         (!name.empty() && name.front() != '.' &&
          glob(pattern, name.substr(1)));
}

// One or more labels before `rest`.
bool is_below(std::string_view rest, std::string_view name) {
  for (auto dot = name.find('.', 1); dot != std::string_view::npos;
       dot = name.find('.', dot + 1)) {
    if (glob(rest, name.substr(dot + 1))) {
      return true;
    }
  }
  return false;
}

bool pattern_matches(const std::string& pattern, const std::string& name) {
  if (pattern.find_first_not_of('*') == std::string::npos) {
    return true;
  }
  return pattern.starts_with("**.") ? is_below(pattern.substr(3), name)
                                    : glob(pattern, name);
}

}  // namespace

bool fqdn_matches(const json& selector, const std::string& name) {
  const std::string exact = text(get(selector, "matchName"));
  const std::string pattern = text(get(selector, "matchPattern"));
  return (!exact.empty() && plain(exact) == plain(name)) ||
         (!pattern.empty() && pattern_matches(plain(pattern), plain(name)));
}

bool domain_matches(const std::string& domain, const std::string& name) {
  return domain.starts_with("*.")
             ? is_below(plain(domain.substr(2)), plain(name))
             : plain(domain) == plain(name);
}

}  // namespace sluice::reference
