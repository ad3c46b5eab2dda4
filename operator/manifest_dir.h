// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/result.h"

namespace sluice::op {

// The manifests (*.yaml, *.yml, *.json) of a folder and its subfolders, and
// what changes in them. Names that begin with a dot are passed over, symbolic
// links followed, so that folders that kubelet projects (..data) work.
//
// Nothing is taken for deleted on weak evidence: while the folder itself or a
// subfolder cannot be read, what was found there stays; a file that someone is
// still writing is not read until it is closed.
class ManifestDir {
 public:
  // The folder must be there. Not for an empty name.
  static Result<ManifestDir> open(const std::filesystem::path& root);
  ManifestDir(ManifestDir&&) noexcept;
  ManifestDir& operator=(ManifestDir&&) noexcept;
  ManifestDir(const ManifestDir&) = delete;
  ManifestDir& operator=(const ManifestDir&) = delete;
  ~ManifestDir();

  struct Change {
    enum class Kind : std::uint8_t { kText, kUnreadable, kGone };
    std::string file;  // root / path
    Kind kind = Kind::kText;
    std::string text;  // kText: content; kUnreadable: why
  };

  // Readable when something may have changed: call scan() once it
  // has been quiet for a moment.
  [[nodiscard]] int poll_fd() const;
  void drain();
  // What changed since the last scan (the first one gives every file), sorted
  // by file. Cheap when nothing did. To be called from time to time without a
  // notice too: links may lead to where none are given.
  std::vector<Change> scan();
  // True if a file was left out because someone was writing it.
  [[nodiscard]] bool pending() const;
  // What keeps the folder from being read as a whole, or empty.
  [[nodiscard]] const std::string& problem() const;

 private:
  ManifestDir();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::op
