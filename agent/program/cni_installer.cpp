// SPDX-License-Identifier: Apache-2.0
#include "agent/program/cni_installer.h"

#include <system_error>

#include <spdlog/spdlog.h>

namespace sluice::agentd {
namespace {

constexpr std::chrono::seconds kAgain{10};

}  // namespace

Result<CniInstaller> CniInstaller::start(CniOptions options) {
  using Mode = CniOptions::Mode;
  CniInstaller installer(std::move(options));
  const auto& install = installer.options_.install;
  const auto mode = installer.options_.mode;
  if (install.conf_dir.empty() || install.bin_dir.empty()) {
    return mode == Mode::kOn
               ? fail("--cni=on needs --cni-conf-dir and --cni-bin-dir")
               : Result<CniInstaller>(std::move(installer));
  }
  if (mode == Mode::kOff) {
    installer.tell(cni::remove_plugin(install.conf_dir, install.bin_dir));
    return installer;
  }
  // Before the first look, so that no change is missed.
  auto watch = cni::FolderWatch::open(install.conf_dir);
  if (!watch) {
    if (mode == Mode::kOn) {
      return with_context("--cni-conf-dir", watch.error());
    }
    spdlog::warn("no CNI plugin is installed: {}", watch.error().message);
    return installer;
  }
  installer.watch_ = std::move(*watch);
  installer.work();
  return installer;
}

void CniInstaller::turn() {
  if (!watch_) {
    return;
  }
  if (watch_->changed() || Clock::now() >= again_at_) {
    work();
  }
}

Result<void> CniInstaller::install() {
  const auto wanted = cni::has_configuration(options_.install.conf_dir);
  if (!wanted) {
    return std::unexpected(wanted.error());
  }
  // Before a configuration names the program.
  if (*wanted) {
    if (auto done = cni::install_program(options_.install); !done) {
      return done;
    }
  }
  const auto chained = cni::install_chain(options_.install);
  if (!chained) {
    return std::unexpected(chained.error());
  }
  if (chained->file.empty()) {
    if (!std::exchange(told_nothing_, true)) {
      spdlog::info("{}: no network configuration yet",
                   options_.install.conf_dir.string());
    }
  } else if (chained->changed || chained->file != file_) {
    spdlog::info("sluice-cni is chained into {}",
                 (options_.install.conf_dir / chained->file).string());
  }
  file_ = chained->file;
  return {};
}

void CniInstaller::work() {
  again_at_ = Clock::time_point::max();
  tell(install());
}

// Logs each reason once.
void CniInstaller::tell(const Result<void>& result) {
  if (result) {
    problem_.clear();
    return;
  }
  again_at_ = Clock::now() + kAgain;
  if (problem_ != result.error().message) {
    problem_ = result.error().message;
    spdlog::error("CNI plugin: {}", problem_);
  }
}

}  // namespace sluice::agentd
