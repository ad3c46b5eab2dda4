// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include "cni/conflist.h"
#include "lib/base/fd.h"
#include "lib/base/result.h"

// Installs sluice-cni in a node's CNI folders and removes it. Every file is
// replaced by a rename in its folder, so that there is a valid file at every
// moment.
namespace sluice::cni {

struct InstallOptions {
  std::filesystem::path conf_dir;  // "/etc/cni/net.d"
  std::filesystem::path bin_dir;   // "/opt/cni/bin"
  std::filesystem::path program;   // of the plugin, to be copied
  PluginOptions plugin;
};

// The result of install_chain().
struct Chained {
  std::string file;      // has the plugin; empty: no configuration exists
  bool changed = false;  // this call has changed something
};

// True if there is a configuration that a runtime would load.
Result<bool> has_configuration(const std::filesystem::path& conf_dir);
// Copies the program, unless this version of it is already there.
Result<void> install_program(const InstallOptions& options);
// Adds the plugin to the configuration that a runtime uses, which is the first
// one by name that it can load. For the configuration of a single plugin,
// writes a list to a separate file that sorts before it. Writes nothing if
// nothing has to change.
Result<Chained> install_chain(const InstallOptions& options);
// Removes the plugin from all configurations and then removes the program. It
// is no error if there is nothing to remove. A folder given as an empty path is
// skipped.
Result<void> remove_plugin(const std::filesystem::path& conf_dir,
                           const std::filesystem::path& bin_dir);

// Reports changes in a folder.
class FolderWatch {
 public:
  static Result<FolderWatch> open(const std::filesystem::path& folder);
  // Becomes readable when something has changed.
  [[nodiscard]] int fd() const { return fd_.get(); }
  // True if something has changed since the last call.
  bool changed();

 private:
  explicit FolderWatch(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

}  // namespace sluice::cni
