// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/result.h"

namespace sluice::op {

// The manifests (*.yaml, *.yml, *.json) of a folder and its subfolders, and
// their changes. Names that begin with a dot are skipped and symbolic links are
// followed, so that folders projected by kubelet (..data) work.
//
// A file counts as deleted only on good evidence: while the folder itself or a
// subfolder cannot be read, its files are kept. A file that a process is still
// writing is not read until it is closed.
class ManifestDir {
 public:
  // Fails if the folder does not exist or the name is empty.
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
  // Returns the changes since the last scan, sorted by file; the first scan
  // returns every file. Cheap if nothing has changed. To be called from time to
  // time without a notice too, because links may lead to places without
  // notices.
  std::vector<Change> scan();
  // True if a file was skipped because a process was writing it.
  [[nodiscard]] bool pending() const;
  // What keeps the folder from being read as a whole, or empty.
  [[nodiscard]] const std::string& problem() const;

 private:
  ManifestDir();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::op
