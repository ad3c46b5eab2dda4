// SPDX-License-Identifier: Apache-2.0
#include "cli/sources.h"

#include <utility>

#include "cli/cluster.h"
#include "cli/standard_input.h"
#include "operator/manifest_dir.h"

namespace sluice::cli {
namespace {

constexpr std::size_t kInputBytesMax = std::size_t{256} << 20U;

Result<std::vector<Source>> read_folder(const std::filesystem::path& path) {
  auto dir = op::ManifestDir::open(path);
  if (!dir) {
    return std::unexpected(dir.error());
  }
  std::vector<Source> sources;
  for (auto& change : dir->scan()) {
    auto& source = sources.emplace_back(Source{
        .name = std::move(change.file), .manifest = {}, .unreadable = {}});
    if (change.kind == op::ManifestDir::Change::Kind::kUnreadable) {
      source.unreadable = std::move(change.text);
    } else {
      source.manifest = kube::parse_manifest(change.text, source.name);
    }
  }
  if (!dir->problem().empty()) {
    return fail(dir->problem());
  }
  if (dir->pending()) {
    return fail(path.string() + ": a file is being written");
  }
  return sources;
}

}  // namespace

Result<std::vector<Source>> read_sources(const std::filesystem::path& path) {
  std::vector<Source> sources;
  std::error_code ignored;
  if (path == kStandardInput) {
    const auto text = read_standard_input(kInputBytesMax);
    if (!text) {
      return std::unexpected(text.error());
    }
    sources.push_back(
        {.name = kStandardInputName,
         .manifest = kube::parse_manifest(*text, kStandardInputName),
         .unreadable = {}});
    return sources;
  }
  if (!std::filesystem::is_regular_file(path, ignored)) {
    return read_folder(path);
  }
  auto manifest = kube::read_manifest(path);
  if (!manifest) {
    return std::unexpected(manifest.error());
  }
  sources.push_back({.name = path.string(),
                     .manifest = std::move(*manifest),
                     .unreadable = {}});
  return sources;
}

void set_source(Cluster& cluster, const Source& source) {
  if (source.unreadable.empty()) {
    cluster.set_source(source.name, source.manifest);
  } else {
    cluster.store().fail_source(source.name, source.unreadable);
  }
}

}  // namespace sluice::cli
