// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "lib/base/fd.h"
#include "lib/base/result.h"

namespace sluice::node {

// A file to which lines are appended, and which makes room for a new one when
// it would become too large: FILE becomes FILE.1, FILE.1 becomes FILE.2, and so
// on. A file that somebody else has renamed or removed is created anew. Pipes
// and devices are written to as they are. One thread.
class ExportFile {
 public:
  struct Options {
    std::filesystem::path path;  // "-": the standard output
    std::uint64_t size_max = 0;  // bytes
    std::uint32_t backups = 0;   // files that are kept beside it
  };
  explicit ExportFile(Options options) : options_(std::move(options)) {}

  // Appends whole lines and removes from `lines` what has been written. True if
  // that is all. False if nobody reads the pipe at the moment. On failure a
  // file has nothing of the lines, and the next call tries everything again.
  Result<bool> append(std::string& lines);

 private:
  Result<void> open();
  Result<void> rotate();
  Result<void> append_to_file(std::string& lines);
  Result<bool> append_to_pipe(std::string& lines);
  bool is_current();
  void end_last_line();

  Options options_;
  Fd fd_;
  int target_ = -1;  // fd_, or the standard output
  bool regular_ = false;
  std::uint64_t size_ = 0;
};

}  // namespace sluice::node
