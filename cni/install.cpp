// SPDX-License-Identifier: Apache-2.0
#include "cni/install.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>

namespace sluice::cni {
namespace {

namespace fs = std::filesystem;

constexpr std::uintmax_t kFileMax = 1UL << 20;
constexpr mode_t kConfMode = 0644;
constexpr mode_t kProgramMode = 0755;
// Prefix of files that are being written. Runtimes skip names that begin with a
// dot.
constexpr std::string_view kHidden = ".sluice-";

Result<std::string> read_file(const fs::path& file) {
  const std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  if (!stream) {
    return fail_errno(file.string());
  }
  return text.str();
}

Result<void> write_all(int fd, std::string_view text, const fs::path& file) {
  while (!text.empty()) {
    const auto count = ::write(fd, text.data(), text.size());
    if (count < 0 && errno != EINTR) {
      return fail_errno(file.string());
    }
    text.remove_prefix(count > 0 ? static_cast<std::size_t>(count) : 0);
  }
  return {};
}

// Replaces a file by a rename: readers see the old file or the new one,
// whatever happens.
Result<void> replace_file(const fs::path& file, std::string_view text,
                          mode_t mode) {
  const auto hidden =
      file.parent_path() / (std::string(kHidden) + file.filename().string());
  std::error_code ignored;
  fs::remove(hidden, ignored);  // left by a process that ended here
  Fd fd(::open(hidden.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!fd.valid()) {
    return fail_errno(hidden.string());
  }
  auto done = write_all(fd.get(), text, hidden);
  // Before the rename, so that a power failure leaves one of the two.
  if (done && (::fchmod(fd.get(), mode) != 0 || ::fsync(fd.get()) != 0)) {
    done = fail_errno(hidden.string());
  }
  fd.reset();
  if (done && ::rename(hidden.c_str(), file.c_str()) != 0) {
    done = fail_errno(file.string());
  }
  if (!done) {
    fs::remove(hidden, ignored);
  }
  return done;
}

mode_t mode_of(const fs::path& file) {
  struct stat status{};
  constexpr mode_t kPermissions = 07777;
  return ::stat(file.c_str(), &status) == 0 ? status.st_mode & kPermissions
                                            : kConfMode;
}

struct Conf {
  std::string name;  // the file's name
  FileKind kind = FileKind::kNone;
  std::string text;
  std::optional<std::string> source;  // set if we made it from this file
};

// The configurations that a runtime can load, in its order.
Result<std::vector<Conf>> read_confs(const fs::path& dir) {
  std::vector<Conf> result;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(dir, error)) {
    const auto name = entry.path().filename().string();
    const auto kind = kind_of(name);
    std::error_code ignored;
    if (kind == FileKind::kNone || !entry.is_regular_file(ignored) ||
        entry.file_size(ignored) > kFileMax) {
      continue;
    }
    auto text = read_file(entry.path());
    if (text && is_loadable(kind, *text)) {
      auto source =
          kind == FileKind::kList ? wrapped_file(*text) : std::nullopt;
      result.push_back({.name = name,
                        .kind = kind,
                        .text = std::move(*text),
                        .source = std::move(source)});
    }
  }
  if (error) {
    return fail_errno(dir.string(), error.value());
  }
  std::ranges::sort(result, {}, &Conf::name);
  return result;
}

// Chooses a name for the list made from `source`, one that sorts before it.
Result<std::string> name_before(const std::string& source) {
  for (const char* name :
       {"00-sluice.conflist", "0-sluice.conflist", "!-sluice.conflist"}) {
    if (name < source) {
      return name;
    }
  }
  return fail(source + ": no file can come before it");
}

Result<bool> put(const fs::path& file, const std::string& old,
                 const std::string& text) {
  if (text == old) {
    return false;
  }
  if (auto done = replace_file(file, text, mode_of(file)); !done) {
    return std::unexpected(done.error());
  }
  return true;
}

Result<Chained> chain_single(const fs::path& dir, const Conf& conf,
                             const PluginOptions& options) {
  const auto name = name_before(conf.name);
  const auto text = wrap(conf.text, conf.name, options);
  if (!name || !text) {
    return with_context((dir / conf.name).string(),
                        name ? text.error() : name.error());
  }
  std::error_code ignored;
  const auto old =
      fs::exists(dir / *name, ignored) ? read_file(dir / *name) : std::string{};
  const auto changed = put(dir / *name, old.value_or(""), *text);
  if (!changed) {
    return std::unexpected(changed.error());
  }
  return Chained{.file = *name, .changed = *changed};
}

Result<Chained> chain_list(const fs::path& dir, const Conf& conf,
                           const PluginOptions& options) {
  const auto text = chain(conf.text, options);
  if (!text) {
    return with_context((dir / conf.name).string(), text.error());
  }
  const auto changed = put(dir / conf.name, conf.text, *text);
  if (!changed) {
    return std::unexpected(changed.error());
  }
  return Chained{.file = conf.name, .changed = *changed};
}

}  // namespace

Result<bool> has_configuration(const fs::path& conf_dir) {
  const auto confs = read_confs(conf_dir);
  if (!confs) {
    return std::unexpected(confs.error());
  }
  return !confs->empty();
}

Result<void> install_program(const InstallOptions& options) {
  auto program = read_file(options.program);
  if (!program) {
    return std::unexpected(program.error());
  }
  const auto target = options.bin_dir / kPluginName;
  std::error_code ignored;
  if (fs::exists(target, ignored)) {
    const auto there = read_file(target);
    if (there && *there == *program && mode_of(target) == kProgramMode) {
      return {};
    }
  }
  return replace_file(target, *program, kProgramMode);
}

Result<Chained> install_chain(const InstallOptions& options) {
  const auto& dir = options.conf_dir;
  const auto confs = read_confs(dir);
  if (!confs) {
    return std::unexpected(confs.error());
  }
  const auto first = std::ranges::find_if(
      *confs, [](const Conf& conf) { return !conf.source.has_value(); });
  Chained result;
  if (first != confs->end()) {
    auto chained = first->kind == FileKind::kSingle
                       ? chain_single(dir, *first, options.plugin)
                       : chain_list(dir, *first, options.plugin);
    if (!chained) {
      return chained;
    }
    result = std::move(*chained);
  }
  // Remove lists made from files that no longer exist or are no longer used.
  // This comes last, so that there is a configuration at every moment.
  for (const auto& conf : *confs) {
    if (conf.source && conf.name != result.file) {
      std::error_code error;
      fs::remove(dir / conf.name, error);
      result.changed = true;
    }
  }
  return result;
}

Result<void> remove_plugin(const fs::path& conf_dir, const fs::path& bin_dir) {
  std::error_code error;
  if (fs::exists(conf_dir, error)) {
    const auto confs = read_confs(conf_dir);
    if (!confs) {
      return std::unexpected(confs.error());
    }
    for (const auto& conf : *confs) {
      if (conf.source) {
        fs::remove(conf_dir / conf.name, error);
        if (error) {
          return fail_errno((conf_dir / conf.name).string(), error.value());
        }
      } else if (conf.kind == FileKind::kList) {
        const auto done =
            put(conf_dir / conf.name, conf.text, unchain(conf.text));
        if (!done) {
          return std::unexpected(done.error());
        }
      }
    }
  }
  const auto program = bin_dir / kPluginName;
  if (bin_dir.empty() || !fs::exists(program, error)) {
    return {};
  }
  // Last, so that the program exists as long as a configuration names it.
  fs::remove(program, error);
  return error ? fail_errno(program.string(), error.value()) : Result<void>{};
}

Result<FolderWatch> FolderWatch::open(const fs::path& folder) {
  Fd fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  // Files that are still being written do not count yet.
  if (!fd.valid() ||
      ::inotify_add_watch(fd.get(), folder.c_str(),
                          IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM |
                              IN_DELETE | IN_ONLYDIR) < 0) {
    return fail_errno(folder.string());
  }
  return FolderWatch(std::move(fd));
}

bool FolderWatch::changed() {
  bool any = false;
  std::array<char, 4096> buffer{};
  while (::read(fd_.get(), buffer.data(), buffer.size()) > 0) {
    any = true;
  }
  return any;
}

}  // namespace sluice::cni
