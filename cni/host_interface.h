// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cni/error.h"

namespace sluice::cni {

struct HostInterface {
  std::string name;
  std::uint32_t ifindex = 0;
};

// Returns the node's end of the veth whose other end is `ifname` in the network
// namespace `netns` (a path). If `netns` is empty, it is the only veth among
// `named`, the host-side interfaces that the previous plugin lists. Fails if
// the interface is not a veth, or if its other end is not in the network
// namespace of this process. To be called while the process has one thread.
CniResult<HostInterface> find_host_interface(
    const std::string& netns, const std::string& ifname,
    const std::vector<std::string>& named);

}  // namespace sluice::cni
