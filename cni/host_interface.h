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

// The node's end of the veth whose other end is `ifname` in the network
// namespace `netns` (a path). `named`: host-side interfaces that the plugin
// before lists; one of them is it if `netns` cannot tell. An error if it is no
// veth, or if its other end is not in this process' network namespace. Called
// while the process has one thread.
CniResult<HostInterface> find_host_interface(
    const std::string& netns, const std::string& ifname,
    const std::vector<std::string>& named);

}  // namespace sluice::cni
