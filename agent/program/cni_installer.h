// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "cni/install.h"
#include "lib/base/result.h"

namespace sluice::agentd {

struct CniOptions {
  enum class Mode : unsigned char {
    kOff,   // remove it
    kAuto,  // install it if there is a configuration
    kOn,    // the same; the folder must exist
  };
  Mode mode = Mode::kAuto;
  cni::InstallOptions install;  // without a folder there is nothing to do
};

// Keeps sluice-cni chained into the node's network configuration. The plugin
// stays there when this object is destroyed. One thread.
class CniInstaller {
 public:
  // Installs the plugin once. Fails only for kOn without folders; other
  // failures are logged and retried.
  static Result<CniInstaller> start(CniOptions options);

  // Becomes readable when turn() has work; -1: never.
  [[nodiscard]] int fd() const { return watch_ ? watch_->fd() : -1; }
  // Installs the plugin again if the configuration has changed.
  void turn();

 private:
  using Clock = std::chrono::steady_clock;
  explicit CniInstaller(CniOptions options) : options_(std::move(options)) {}
  void work();
  Result<void> install();
  void tell(const Result<void>& result);

  CniOptions options_;
  std::optional<cni::FolderWatch> watch_;
  std::string problem_;
  std::string file_;  // that has it
  bool told_nothing_ = false;
  Clock::time_point again_at_ = Clock::time_point::max();
};

}  // namespace sluice::agentd
