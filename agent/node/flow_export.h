// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/flow/store.h"

namespace sluice::node {

struct ExportOptions {
  std::filesystem::path path;  // "-": the standard output; empty: no export
  std::uint32_t size_max_mb = 10;
  std::uint32_t backups = 5;
  // JSON, each text with one FlowFilter or more; see flow::add_filters().
  std::vector<std::string> allow;
  std::vector<std::string> deny;
  std::vector<std::string> fields;  // of a flow; none: all
};

// Writes flows of a store to a file as lines of JSON, as `sluice observe -o
// json` prints them. It reads as any reader of the store does, on a thread of
// its own: it never delays who adds flows, and what it has missed because it
// was too slow becomes a line with `lost_events`. A file that cannot be written
// is a warning, and is tried again every second.
class FlowExport {
 public:
  // Fails if the filters or fields are not valid.
  static Result<void> check(const ExportOptions& options);
  // Begins with the oldest flow. The store must outlive the export. Fails as
  // check() does.
  static Result<std::unique_ptr<FlowExport>> start(const ExportOptions& options,
                                                   const flow::Store& store,
                                                   const std::string& node);
  FlowExport(const FlowExport&) = delete;
  FlowExport& operator=(const FlowExport&) = delete;
  FlowExport(FlowExport&&) = delete;
  FlowExport& operator=(FlowExport&&) = delete;
  // Writes what the store has, within a second.
  ~FlowExport();

  struct Counters {
    std::uint64_t flows = 0;     // written
    std::uint64_t lost = 0;      // overwritten in the store before they were
    std::uint64_t failures = 0;  // attempts to write
  };
  [[nodiscard]] Counters counters() const;

 private:
  FlowExport();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::node
