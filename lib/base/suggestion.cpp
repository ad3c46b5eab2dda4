// SPDX-License-Identifier: Apache-2.0
#include "lib/base/suggestion.h"

#include <algorithm>
#include <cstddef>

namespace sluice {
namespace {

// Names are short; a longer text is no misspelt name.
constexpr std::size_t kLengthMax = 512;

// Letters to insert, remove, replace or exchange with their neighbour (optimal
// string alignment).
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) {
    last[j] = j;
  }
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1,
                         last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

}  // namespace

std::string did_you_mean(std::string_view name,
                         const std::vector<std::string>& known) {
  // A third of the name may be wrong.
  std::size_t nearest = std::max<std::size_t>(2, name.size() / 3) + 1;
  const std::string* found = nullptr;
  for (const auto& candidate : known) {
    if (candidate.size() > kLengthMax || name.size() > kLengthMax ||
        candidate == name) {
      continue;
    }
    // "web" for "shop/web": its last part alone.
    const auto slash = candidate.rfind('/');
    const bool last_part =
        !name.contains('/') && slash != std::string::npos &&
        std::string_view(candidate).substr(slash + 1) == name;
    const auto steps = last_part ? 0 : distance(name, candidate);
    if (steps < nearest) {
      nearest = steps;
      found = &candidate;
    }
  }
  return found == nullptr ? std::string()
                          : "; did you mean \"" + *found + "\"?";
}

}  // namespace sluice
