// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/kube/manifest.h"

// Manifests as the user names them: by a folder, a file or the standard input.
namespace sluice::cli {

class Cluster;

struct Source {
  std::string name;  // of the file
  kube::Manifest manifest;
  std::string unreadable;  // why it cannot be read, or empty
};

// The files of a folder, a single file, or, for "-", what the standard input
// has. A file of a folder that cannot be read is among them.
Result<std::vector<Source>> read_sources(const std::filesystem::path& path);

// Makes it a source of the cluster; commit() makes it effective.
void set_source(Cluster& cluster, const Source& source);

}  // namespace sluice::cli
