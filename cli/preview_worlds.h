// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "cli/cluster.h"
#include "lib/base/result.h"
#include "lib/policy/rule.h"
#include "lib/preview/preview.h"

// The two worlds of `sluice preview`.
namespace sluice::cli {

struct PreviewInput {
  std::vector<std::filesystem::path> files;  // of the change
  std::vector<std::string> deletes;          // "Kind/namespace/name"
  std::filesystem::path against;
  std::filesystem::path flows;  // may be empty
};

struct PreviewWorlds {
  Cluster before;
  Cluster after;
  // Policies that the change adds, or that it makes others.
  std::set<policy::PolicyKey> changed;
  // What is wrong with the change: errors, with which there are no worlds, or
  // notes.
  std::vector<node::ProblemView> problems;
  bool refused = false;
};

// One of them, for the comparison. The cluster must outlive it.
preview::World world_of(const Cluster& cluster);

// Reads both inputs. An object of the change replaces the one of the same kind,
// namespace and name. Fails where an input cannot be read, and for what is to
// be deleted and is not there.
Result<PreviewWorlds> read_worlds(const PreviewInput& input);

}  // namespace sluice::cli
