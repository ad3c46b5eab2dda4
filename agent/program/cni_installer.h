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
    kOff,   // takes it out where it is in
    kAuto,  // wherever there is a configuration to chain it into
    kOn,    // the same, and there must be a folder of configurations
  };
  Mode mode = Mode::kAuto;
  cni::InstallOptions install;  // without a folder there is nothing to do
};

// Keeps sluice-cni chained into the node's network configuration for as long as
// it lives, and leaves it there when it goes. One thread.
class CniInstaller {
 public:
  // Does it once. An error only for kOn without folders; what else does not
  // work is logged and tried again.
  static Result<CniInstaller> start(CniOptions options);

  // Readable when turn() has something to do; -1: never.
  [[nodiscard]] int fd() const { return watch_ ? watch_->fd() : -1; }
  // Puts it back if somebody has changed the configuration.
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
