// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "lib/base/result.h"

namespace CLI {
class App;
}
namespace observer {
class GetFlowsRequest;
}

namespace sluice::cli {

// The options of `sluice observe` that choose flows, named as those of the
// command hubble. An option about one end ("--from-pod") is a condition of
// every filter; one about either end ("--pod") makes two filters, one for each
// end. Options behind "--not" choose what is left out.
class FlowFilters {
 public:
  explicit FlowFilters(CLI::App& command);
  FlowFilters(const FlowFilters&) = delete;
  FlowFilters& operator=(const FlowFilters&) = delete;
  FlowFilters(FlowFilters&&) = delete;
  FlowFilters& operator=(FlowFilters&&) = delete;
  ~FlowFilters();

  // To be called when the command line has been read. Fails if options
  // contradict each other.
  Result<void> add_to(::observer::GetFlowsRequest& request) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::cli
