// SPDX-License-Identifier: Apache-2.0
#include "cli/host.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include <linux/magic.h>

#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace sluice::cli {
namespace {

constexpr const char* kBpffs = "/sys/fs/bpf";

struct FreeAddresses {
  void operator()(ifaddrs* list) const { ::freeifaddrs(list); }
};

std::optional<IpAddress> address_of(const sockaddr* from) {
  IpAddress address;
  if (from == nullptr) {
    return std::nullopt;
  }
  if (from->sa_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, from, sizeof(in));
    std::memcpy(address.bytes.data(), &in.sin_addr, sizeof(in.sin_addr));
    return address;
  }
  if (from->sa_family == AF_INET6) {
    sockaddr_in6 in{};
    std::memcpy(&in, from, sizeof(in));
    if (IN6_IS_ADDR_LINKLOCAL(&in.sin6_addr)) {
      return std::nullopt;
    }
    std::memcpy(address.bytes.data(), &in.sin6_addr, sizeof(in.sin6_addr));
    address.v6 = true;
    return address;
  }
  return std::nullopt;
}

bool on_bpffs(std::filesystem::path path) {
  std::error_code ignored;
  while (!std::filesystem::exists(path, ignored) && path.has_relative_path()) {
    path = path.parent_path();
  }
  struct statfs status{};
  return ::statfs(path.c_str(), &status) == 0 &&
         static_cast<unsigned long>(status.f_type) == BPF_FS_MAGIC;
}

Result<Fd> lock(const std::filesystem::path& path, int flags) {
  Fd fd(::open(path.c_str(), flags | O_CLOEXEC, 0600));
  if (!fd.valid()) {
    return fail_errno(path.string());
  }
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      return fail(path.string() + ": another instance of sluice uses it");
    }
    return fail_errno(path.string());
  }
  return fd;
}

bool is_loopback(const IpAddress& address) {
  static const auto loopback4 = *parse_prefix("127.0.0.0/8");
  static const auto loopback6 = *parse_prefix("::1/128");
  return loopback4.contains(address) || loopback6.contains(address);
}

}  // namespace

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) {
    return "localhost";
  }
  return name.data();
}

Result<std::vector<IpAddress>> local_addresses() {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) {
    return fail_errno("getifaddrs");
  }
  const std::unique_ptr<ifaddrs, FreeAddresses> owner(list);
  std::vector<IpAddress> addresses;
  for (const auto* item = list; item != nullptr; item = item->ifa_next) {
    const auto address = address_of(item->ifa_addr);
    // A node's own address may well stand on lo, as a /32 that routes announce.
    if (address && !is_loopback(*address)) {
      addresses.push_back(*address);
    }
  }
  std::ranges::sort(addresses);
  const auto repeated = std::ranges::unique(addresses);
  addresses.erase(repeated.begin(), repeated.end());
  return addresses;
}

Result<void> ensure_bpffs(const std::filesystem::path& pin_dir) {
  std::error_code error;
  const auto path = std::filesystem::absolute(pin_dir, error);
  if (!on_bpffs(path) && path.string().starts_with(kBpffs) &&
      std::filesystem::exists(kBpffs, error) &&
      ::mount("bpf", kBpffs, "bpf", 0, "mode=0700") != 0) {
    return with_context("mount a BPF file system", fail_errno(kBpffs).error());
  }
  if (!on_bpffs(path)) {
    return fail(path.string() +
                ": not in a BPF file system; mount one there with `mount -t "
                "bpf bpf FOLDER`, or choose another --pin-dir");
  }
  std::filesystem::create_directories(path, error);
  if (error) {
    return fail_errno(path.string(), error.value());
  }
  return {};
}

Result<Fd> lock_folder(const std::filesystem::path& folder) {
  return lock(folder, O_RDONLY | O_DIRECTORY);
}

Result<Fd> lock_file(const std::filesystem::path& file) {
  std::error_code error;
  if (file.has_parent_path()) {
    std::filesystem::create_directories(file.parent_path(), error);
    if (error) {
      return fail_errno(file.parent_path().string(), error.value());
    }
  }
  return lock(file, O_RDWR | O_CREAT);
}

std::filesystem::path lock_path(const std::filesystem::path& socket) {
  auto file = socket;
  return file.replace_extension(".lock");
}

Result<InstanceLocks> lock_instance(const std::filesystem::path& socket,
                                    const std::filesystem::path& pin_dir) {
  auto on_socket = lock_file(lock_path(socket));
  if (!on_socket) {
    return std::unexpected(on_socket.error());
  }
  if (auto mounted = ensure_bpffs(pin_dir); !mounted) {
    return std::unexpected(mounted.error());
  }
  auto on_pins = lock_folder(pin_dir);
  if (!on_pins) {
    return std::unexpected(on_pins.error());
  }
  return InstanceLocks{.socket = std::move(*on_socket),
                       .pins = std::move(*on_pins)};
}

}  // namespace sluice::cli
