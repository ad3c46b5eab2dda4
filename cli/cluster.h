// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "agent/instance/policy_source.h"
#include "agent/instance/views.h"
#include "lib/base/result.h"
#include "lib/policy/translator.h"
#include "operator/manifest_dir.h"
#include "operator/store.h"

namespace sluice::cli {

// Objects and what their policies say; without a kernel.
class Cluster {
 public:
  explicit Cluster(const policy::TranslatorOptions& options = {},
                   op::OnInvalid on_invalid = op::OnInvalid::kOpen);

  [[nodiscard]] policy::Translator& translator() { return *translator_; }
  [[nodiscard]] const policy::Translator& translator() const {
    return *translator_;
  }
  [[nodiscard]] op::Store& store() { return *store_; }
  [[nodiscard]] const op::Store& store() const { return *store_; }

  // Takes over what changed in a folder, short of commit().
  void take(const op::ManifestDir::Change& change);

  [[nodiscard]] instance::PolicyListView policy_list() const;
  // Problems of the store, and those alone that concern no policy if so asked.
  [[nodiscard]] std::vector<instance::ProblemView> problems(
      bool without_policies) const;
  // The objects and files that are not valid, so that what the others say is
  // not taken for all there is.
  [[nodiscard]] std::vector<instance::ProblemView> errors() const;

 private:
  std::unique_ptr<policy::Translator> translator_;
  std::unique_ptr<op::Store> store_;
};

// Everything in a folder, or in one file.
Result<Cluster> load_cluster(const std::filesystem::path& path,
                             const policy::TranslatorOptions& options = {});

// Looks from a node from now on, and returns its name: the one asked for, or
// the only one, or this host. An error if there are several to choose from.
Result<std::string> choose_node(Cluster& cluster, const std::string& wanted);

// The verdict at both ends in every address family that the two share.
Result<instance::ExplainView> explain(const Cluster& cluster,
                                      const instance::ExplainRequest& request);

}  // namespace sluice::cli
