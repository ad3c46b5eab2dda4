// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include "cni/conflist.h"
#include "lib/base/fd.h"
#include "lib/base/result.h"

// Puts sluice-cni into a node's CNI folders, and takes it away. Every file
// changes by a rename in its folder, so that there is no moment without a valid
// one.
namespace sluice::cni {

struct InstallOptions {
  std::filesystem::path conf_dir;  // "/etc/cni/net.d"
  std::filesystem::path bin_dir;   // "/opt/cni/bin"
  std::filesystem::path program;   // of the plugin, to be copied
  PluginOptions plugin;
};

// What the folder of configurations has come to.
struct Chained {
  std::string file;  // that has the plugin now; empty: there is none to have
  bool changed = false;  // by this call
};

// Whether there is a configuration that a runtime could load.
Result<bool> has_configuration(const std::filesystem::path& conf_dir);
// Copies the program, if it is not there in this version.
Result<void> install_program(const InstallOptions& options);
// Chains the plugin into the configuration that a runtime takes: the first one
// by name that it can load. A single plugin's becomes a list, in a file of its
// own that comes before it. Changes nothing where nothing is to be changed.
Result<Chained> install_chain(const InstallOptions& options);
// Takes it out of all of them and removes the program, in this order; no error
// if there is nothing, and nothing to do for a folder without a name.
Result<void> remove_plugin(const std::filesystem::path& conf_dir,
                           const std::filesystem::path& bin_dir);

// Tells when somebody has changed a folder.
class FolderWatch {
 public:
  static Result<FolderWatch> open(const std::filesystem::path& folder);
  // Readable when something has changed.
  [[nodiscard]] int fd() const { return fd_.get(); }
  // True if something has, since the last call.
  bool changed();

 private:
  explicit FolderWatch(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

}  // namespace sluice::cni
