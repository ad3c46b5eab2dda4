// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <string>
#include <system_error>

#include <linux/magic.h>

#include <sys/vfs.h>

#include "agent/agent.h"
#include "agent/attach.h"
#include "agent/clsact.h"
#include "agent/interfaces.h"
#include "agent/netlink_socket.h"

namespace sluice::agent {
namespace {

namespace fs = std::filesystem;

// "v1", "v2", ...: the folder of an abi version.
bool is_version_folder(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.size() > 1 && name[0] == 'v' &&
         std::all_of(name.begin() + 1, name.end(),
                     [](char c) { return c >= '0' && c <= '9'; });
}

Result<void> detach_everywhere() {
  const auto interfaces = Interfaces::open();
  if (!interfaces) {
    return std::unexpected(interfaces.error());
  }
  const auto requests = netlink_connect();
  if (!requests) {
    return std::unexpected(requests.error());
  }
  Result<void> result;
  for (const std::uint32_t ifindex : interfaces->all()) {
    // The other interfaces are still cleaned up.
    auto detached = tc_detach(ifindex);
    if (detached) {
      detached = remove_unused_clsact(**requests, ifindex);
    }
    if (!detached && result) {
      result = with_context(interfaces->name(ifindex), detached.error());
    }
  }
  return result;
}

// Removes only our own pins: files in folders of abi versions, and these
// folders if they are empty then.
Result<void> remove_pins(const fs::path& pin_dir) {
  std::error_code error;
  if (!fs::exists(pin_dir, error)) {
    return {};
  }
  struct statfs info{};
  if (statfs(pin_dir.c_str(), &info) != 0) {
    return fail_errno(pin_dir.string());
  }
  if (static_cast<std::uint64_t>(info.f_type) != BPF_FS_MAGIC) {
    return fail(pin_dir.string() + ": not in a BPF file system (bpffs)");
  }
  for (const auto& folder : fs::directory_iterator(pin_dir, error)) {
    if (is_version_folder(folder.path())) {
      fs::remove_all(folder.path(), error);
      if (error) {
        return fail_errno("removing " + folder.path().string(), error.value());
      }
    }
  }
  if (fs::is_empty(pin_dir, error)) {
    fs::remove(pin_dir, error);
  }
  return {};
}

}  // namespace

Result<void> cleanup(const fs::path& pin_dir) {
  // Filters first, because without them nothing uses the maps.
  if (auto result = detach_everywhere(); !result) {
    return result;
  }
  return remove_pins(pin_dir);
}

}  // namespace sluice::agent
