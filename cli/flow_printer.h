// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace observer {
class GetFlowsResponse;
}

namespace sluice::cli {

enum class FlowFormat : std::uint8_t { kCompact, kDict, kJson };

// Prints what a server of Hubble's API sends, one message after the other. What
// has become of nodes goes to the error stream.
class FlowPrinter {
 public:
  explicit FlowPrinter(FlowFormat format) : format_(format) {}

  // False if the output is gone.
  bool print(const ::observer::GetFlowsResponse& response);

 private:
  FlowFormat format_;
  bool first_ = true;
};

}  // namespace sluice::cli
