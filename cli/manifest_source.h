// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/node/source.h"
#include "cli/cluster.h"
#include "cli/manifest_policies.h"
#include "lib/base/ip.h"
#include "lib/base/loop.h"
#include "lib/base/result.h"
#include "lib/policy/translator.h"
#include "operator/manifest_dir.h"
#include "operator/object.h"

namespace sluice::cli {

struct ManifestSourceOptions {
  std::filesystem::path dir;
  std::string node;  // empty: the Node object with an address of this host
  policy::TranslatorOptions translator;
  op::OnInvalid on_invalid = op::OnInvalid::kOpen;
};

// The wanted state from a folder of manifests, translated in this process and
// again whenever a file changes.
class ManifestSource : public node::Source {
 public:
  explicit ManifestSource(ManifestSourceOptions options);

  Result<void> open() override;
  Result<void> start(node::Runtime& runtime) override;
  [[nodiscard]] const std::string& node() const override { return local_.name; }
  [[nodiscard]] const node::PolicyInfo& policies() const override {
    return *policies_;
  }
  [[nodiscard]] std::string problem() const override { return dir_->problem(); }
  // Ready means what `sluice status --check` checks.
  [[nodiscard]] std::string unready() const override;
  void on_node_addresses(const std::vector<IpAddress>& addresses) override;
  bool ask_ends(const std::vector<IpAddress>& addresses,
                const LearnEnd& learn) override;
  void reload() override;
  // The folder's objects, as they are in force.
  [[nodiscard]] const Cluster& cluster() const { return cluster_; }

 private:
  using Clock = std::chrono::steady_clock;

  void choose_node();
  void scan();
  void scan_within(Clock::duration delay);
  void on_notice();
  void log_problems();
  void enforce();

  ManifestSourceOptions options_;
  Cluster cluster_;
  std::optional<op::ManifestDir> dir_;
  node::Runtime* runtime_ = nullptr;
  LocalNode local_;
  std::optional<ManifestPolicies> policies_;
  std::set<std::string> logged_;  // problems of the objects
  std::string logged_dir_problem_;
  std::optional<Clock::time_point> first_notice_;  // since the last scan
  Timer scan_timer_;
};

}  // namespace sluice::cli
