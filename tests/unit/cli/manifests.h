// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "cli/cluster.h"

// Clusters from the text of manifests.
namespace sluice::cli {

// Adds the objects of a file, in place of those that it had before.
void add_manifests(Cluster& cluster, const std::string& file,
                   const std::string& manifests);
Cluster cluster_of(const std::string& manifests);
Cluster cluster_of(const nlohmann::json& objects);

}  // namespace sluice::cli
