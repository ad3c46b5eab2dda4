// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/node/policy_info.h"
#include "agent/node/views.h"
#include "lib/base/result.h"
#include "lib/explain/reach_view.h"
#include "lib/lint/lint.h"
#include "lib/policy/translator.h"
#include "operator/manifest_dir.h"
#include "operator/store.h"

namespace sluice::kube {
struct Manifest;
}

namespace sluice::cli {

// Objects and the translation of their policies; without a kernel.
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

  // Takes a change of the folder; commit() makes it effective.
  void take(const op::ManifestDir::Change& change);
  // Takes the whole content of a source; likewise.
  void set_source(const std::string& source, const kube::Manifest& manifest);

  [[nodiscard]] node::PolicyListView policy_list() const;
  // Returns the problems of the store, or only those that concern no policy.
  [[nodiscard]] std::vector<node::ProblemView> problems(
      bool without_policies) const;
  // Returns the invalid objects and files, so that users do not take the valid
  // ones for the whole input.
  [[nodiscard]] std::vector<node::ProblemView> errors() const;
  // What is legal in the sources and almost surely wrong.
  [[nodiscard]] const std::vector<lint::Finding>& findings() const;
  // What the sources have that findings() looks at.
  [[nodiscard]] const std::map<std::string, lint::Input>& inputs() const {
    return inputs_;
  }

 private:
  // Why pods that the policy selects are isolated instead; or empty.
  [[nodiscard]] std::string shortfall(const op::ObjectStatus& status) const;

  std::unique_ptr<policy::Translator> translator_;
  std::unique_ptr<op::Store> store_;
  std::map<std::string, lint::Input> inputs_;  // by source
  // Not set since the last change of a source.
  mutable std::optional<std::vector<lint::Finding>> findings_;
};

// "namespace/name", in the order of the objects.
std::vector<std::string> names_of_pods(const op::Store& store);

// Adds a folder, a single file, or, for "-", what the standard input has.
Result<void> load(Cluster& cluster, const std::filesystem::path& path);
// The cluster of one of these alone.
Result<Cluster> load_cluster(const std::filesystem::path& path,
                             const policy::TranslatorOptions& options = {});

// Selects the node whose view is shown, and returns its name: the wanted one,
// or the only one, or this host. Fails if there are several candidates.
Result<std::string> choose_node(Cluster& cluster, const std::string& wanted);

// Prints what of the input could not be used. Returns `code` if there is
// nothing or the user allows it, and otherwise kExitError: the answer is not
// about the whole input.
int exit_code_of(const Cluster& cluster, bool allow_partial, int code);

// The verdict at both ends in every address family that the two share, at every
// port that their policies or containers name.
Result<std::vector<node::ExplainView>> explain_all_ports(
    const Cluster& cluster, const node::ExplainRequest& request);
// The verdict at both ends in every address family that the two share.
Result<node::ExplainView> explain(const Cluster& cluster,
                                  const node::ExplainRequest& request);

// Who may reach whom.
Result<explain::ReachView> reach(const Cluster& cluster,
                                 const explain::ReachRequest& request);

}  // namespace sluice::cli
