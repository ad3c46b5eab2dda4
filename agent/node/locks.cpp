// SPDX-License-Identifier: Apache-2.0
#include "agent/node/locks.h"

#include <system_error>
#include <utility>

#include <linux/magic.h>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/vfs.h>

#include "agent/node/files.h"

namespace sluice::node {
namespace {

constexpr const char* kBpffs = "/sys/fs/bpf";

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

}  // namespace

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

Result<Locks> take_locks(const std::filesystem::path& socket,
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
  return Locks{.socket = std::move(*on_socket), .pins = std::move(*on_pins)};
}

}  // namespace sluice::node
