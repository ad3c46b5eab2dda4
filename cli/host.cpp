// SPDX-License-Identifier: Apache-2.0
#include "cli/host.h"

#include <array>

#include <unistd.h>

namespace sluice::cli {

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) {
    return "localhost";
  }
  return name.data();
}

}  // namespace sluice::cli
