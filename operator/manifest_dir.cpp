// SPDX-License-Identifier: Apache-2.0
#include "operator/manifest_dir.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "lib/base/fd.h"

namespace sluice::op {
namespace {

constexpr std::uint32_t kWatched = IN_CLOSE_WRITE | IN_MOVED_TO |
                                   IN_MOVED_FROM | IN_CREATE | IN_DELETE |
                                   IN_DELETE_SELF | IN_MOVE_SELF | IN_ATTRIB;
constexpr int kDepthMax = 16;
constexpr off_t kFileBytesMax = off_t{64} << 20;
constexpr int kLeaseTries = 2;
constexpr int kPassesMax = 4;

// Tells one version of a file from another without reading it.
struct Stamp {
  dev_t device = 0;
  ino_t inode = 0;
  off_t size = 0;
  std::int64_t modified_ns = 0;
  std::int64_t changed_ns = 0;
  bool operator==(const Stamp&) const = default;
};

std::int64_t nanoseconds(const timespec& time) {
  return (std::int64_t{time.tv_sec} * 1'000'000'000) + time.tv_nsec;
}

Stamp stamp_of(const struct stat& status) {
  return {.device = status.st_dev,
          .inode = status.st_ino,
          .size = status.st_size,
          .modified_ns = nanoseconds(status.st_mtim),
          .changed_ns = nanoseconds(status.st_ctim)};
}

bool is_manifest_name(std::string_view name) {
  return name.ends_with(".yaml") || name.ends_with(".yml") ||
         name.ends_with(".json");
}

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

// A read lease is refused while a process has the file open for writing. Where
// leases do not work at all, this returns false.
bool someone_writes(int fd) {
  // A lease that is broken while we hold it must not raise SIGIO, which kills.
  (void)::fcntl(fd, F_SETSIG, SIGURG);
  for (int i = 0; i < kLeaseTries; ++i) {
    if (::fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
      (void)::fcntl(fd, F_SETLEASE, F_UNLCK);
      return false;
    }
    if (errno != EAGAIN) {
      return false;
    }
  }
  return true;
}

enum class ReadResult : std::uint8_t { kRead, kBusy, kGone, kFailed };

struct FileText {
  ReadResult result = ReadResult::kFailed;
  Stamp stamp;
  std::string text;  // or why it failed
};

bool read_all(int fd, off_t size, std::string& text) {
  text.clear();
  text.reserve(static_cast<std::size_t>(size));
  std::array<char, 65536> buffer{};
  while (true) {
    const auto got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return false;
    }
    if (got == 0) {
      return true;
    }
    text.append(buffer.data(), static_cast<std::size_t>(got));
    if (text.size() > static_cast<std::size_t>(kFileBytesMax)) {
      errno = EFBIG;
      return false;
    }
  }
}

FileText read_file(const std::string& path) {
  FileText file;
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat before{};
  if (!fd.valid() || ::fstat(fd.get(), &before) != 0) {
    file.result = errno == ENOENT ? ReadResult::kGone : ReadResult::kFailed;
    file.text = fail_errno("read").error().message;
    return file;
  }
  file.stamp = stamp_of(before);
  if (before.st_size > kFileBytesMax) {
    file.text = "read: larger than 64 MiB";
    return file;
  }
  if (someone_writes(fd.get())) {
    file.result = ReadResult::kBusy;
    return file;
  }
  struct stat after{};
  if (!read_all(fd.get(), before.st_size, file.text) ||
      ::fstat(fd.get(), &after) != 0) {
    file.text = fail_errno("read").error().message;
    return file;
  }
  const bool same = stamp_of(after) == file.stamp && !someone_writes(fd.get());
  file.result = same ? ReadResult::kRead : ReadResult::kBusy;
  return file;
}

}  // namespace

struct ManifestDir::Impl {
  std::string root;
  Fd notify;
  std::map<std::string, Stamp> known;  // as they were when read
  bool pending = false;
  std::string problem;

  // Of one scan.
  std::map<std::string, Stamp> found;
  std::vector<std::string>
      unreadable;  // unreadable folders, whose files are kept
  std::set<std::pair<dev_t, ino_t>> open_folders;

  std::vector<Change> pass();
  void walk(const std::string& folder, int depth);
  void visit(const std::string& path, int depth);
  void say(const std::string& what);
  void read(const std::string& file, const Stamp& stamp,
            std::vector<Change>& changes);
  [[nodiscard]] bool stays(const std::string& file) const;
};

void ManifestDir::Impl::say(const std::string& what) {
  if (problem.empty()) {
    problem = what + "; what was read from it before stays in force";
  }
}

void ManifestDir::Impl::visit(const std::string& path, int depth) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) {
    if (errno != ENOENT) {  // a dangling link is no file
      say(fail_errno(path).error().message);
      unreadable.push_back(path);
    }
    return;
  }
  if (S_ISDIR(status.st_mode)) {
    const std::pair id{status.st_dev, status.st_ino};
    if (depth < kDepthMax && open_folders.insert(id).second) {
      walk(path, depth + 1);
      open_folders.erase(id);
    }
  } else if (S_ISREG(status.st_mode) && is_manifest_name(path)) {
    found.emplace(path, stamp_of(status));
  }
}

void ManifestDir::Impl::walk(const std::string& folder, int depth) {
  // Watch first, then read, so that a change in between causes a notice.
  (void)::inotify_add_watch(notify.get(), folder.c_str(),
                            kWatched | IN_ONLYDIR);
  const std::unique_ptr<DIR, CloseDir> dir(::opendir(folder.c_str()));
  if (!dir) {
    if (errno != ENOENT || depth == 0) {
      say(fail_errno(folder).error().message);
      unreadable.push_back(folder);
    }
    return;
  }
  while (true) {
    errno = 0;
    // Safe: nobody else has this stream.
    // NOLINTNEXTLINE(concurrency-mt-unsafe)
    const auto* entry = ::readdir(dir.get());
    if (entry == nullptr) {
      break;
    }
    if (entry->d_name[0] != '.') {
      visit(folder + "/" + entry->d_name, depth);
    }
  }
  if (errno != 0) {
    say(fail_errno(folder).error().message);
    unreadable.push_back(folder);
  }
}

bool ManifestDir::Impl::stays(const std::string& file) const {
  return std::ranges::any_of(unreadable, [&](const std::string& place) {
    return file == place || file.starts_with(place + "/");
  });
}

void ManifestDir::Impl::read(const std::string& file, const Stamp& stamp,
                             std::vector<Change>& changes) {
  const auto before = known.find(file);
  if (before != known.end() && before->second == stamp) {
    return;
  }
  auto content = read_file(file);
  switch (content.result) {
    case ReadResult::kBusy:
      pending = true;
      return;
    case ReadResult::kGone:  // deleted in between; a notice will follow
      return;
    case ReadResult::kFailed:
      known[file] = stamp;
      changes.push_back({.file = file,
                         .kind = Change::Kind::kUnreadable,
                         .text = std::move(content.text)});
      return;
    case ReadResult::kRead:
      known[file] = content.stamp;
      changes.push_back({.file = file,
                         .kind = Change::Kind::kText,
                         .text = std::move(content.text)});
      return;
  }
}

std::vector<ManifestDir::Change> ManifestDir::Impl::pass() {
  found.clear();
  unreadable.clear();
  problem.clear();
  pending = false;
  walk(root, 0);
  std::vector<Change> changes;
  for (const auto& [file, stamp] : found) {
    read(file, stamp, changes);
  }
  std::erase_if(known, [&](const auto& item) {
    if (found.contains(item.first) || stays(item.first)) {
      return false;
    }
    changes.push_back(
        {.file = item.first, .kind = Change::Kind::kGone, .text = {}});
    return true;
  });
  return changes;
}

ManifestDir::ManifestDir() : impl_(std::make_unique<Impl>()) {}
ManifestDir::ManifestDir(ManifestDir&&) noexcept = default;
ManifestDir& ManifestDir::operator=(ManifestDir&&) noexcept = default;
ManifestDir::~ManifestDir() = default;

Result<ManifestDir> ManifestDir::open(const std::filesystem::path& root) {
  ManifestDir dir;
  auto text = root.string();
  while (text.size() > 1 && text.ends_with('/')) {
    text.pop_back();
  }
  struct stat status{};
  if (::stat(text.c_str(), &status) != 0) {
    return fail_errno(text);
  }
  if (!S_ISDIR(status.st_mode)) {
    return fail_errno(text, ENOTDIR);
  }
  dir.impl_->root = text;
  dir.impl_->notify = Fd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!dir.impl_->notify.valid()) {
    return fail_errno("inotify_init1");
  }
  return dir;
}

int ManifestDir::poll_fd() const {
  return impl_->notify.get();
}

void ManifestDir::drain() {
  // Every scan reads everything, so the content of notices does not matter, and
  // neither do lost ones (IN_Q_OVERFLOW).
  alignas(inotify_event) std::array<char, 16384> buffer{};
  while (::read(impl_->notify.get(), buffer.data(), buffer.size()) > 0) {
  }
}

std::vector<ManifestDir::Change> ManifestDir::scan() {
  // A pass over files that change meanwhile may see a later change and miss an
  // earlier one. It is therefore repeated until nothing has changed, a bounded
  // number of times.
  std::map<std::string, Change> changes;
  for (int pass = 0; pass < kPassesMax; ++pass) {
    drain();
    for (auto& change : impl_->pass()) {
      auto file = change.file;
      changes.insert_or_assign(std::move(file), std::move(change));
    }
    pollfd notice{.fd = impl_->notify.get(), .events = POLLIN, .revents = 0};
    if (::poll(&notice, 1, 0) == 0) {
      break;
    }
  }
  std::vector<Change> result;
  result.reserve(changes.size());
  for (auto& [file, change] : changes) {
    result.push_back(std::move(change));
  }
  return result;
}

bool ManifestDir::pending() const {
  return impl_->pending;
}
const std::string& ManifestDir::problem() const {
  return impl_->problem;
}

}  // namespace sluice::op
