// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lib/lint/input.h"

namespace sluice::lint {

// The pods, "namespace/name", that policies isolate for egress and that no rule
// lets ask a DNS server; of pods that nothing tells apart, one. Sorted.
std::vector<std::string> pods_without_dns(
    const std::map<std::string, Input>& inputs);

}  // namespace sluice::lint
