// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "flow.pb.h"
#include "lib/base/result.h"
#include "observer.pb.h"

namespace sluice::flow {

// An option that chooses flows, for command lines and queries.
struct FilterOption {
  std::string name;  // "from-pod"
  char letter = 0;   // of the short form, if there is one
  std::string type;  // "[NS/]NAME"
  std::string what;  // for people
};
// All of them, named as those of the command hubble.
std::span<const FilterOption> filter_options();

// The filters of a request, from options in the order in which they are given.
// An option about one end ("from-pod") is a condition of every filter; one
// about either end ("pod") makes two filters, one for each end.
class FilterOptions {
 public:
  // `name`: one of filter_options(), without dashes before it. `out`: leaves
  // out what it chooses. Fails for an unknown name and a wrong value; nothing
  // may be added to a request then.
  Result<void> add(std::string_view name, const std::string& value, bool out);
  // Fails if options contradict each other.
  Result<void> add_to(::observer::GetFlowsRequest& request) const;

  // A filter, and the namespaces of the pods and Services in it.
  struct Side {
    ::flow::FlowFilter filter;
    std::vector<std::string> source_namespaces;
    std::vector<std::string> destination_namespaces;
  };

 private:
  // Conditions on the source, on the destination, or on either.
  struct Pair {
    Side left;
    Side right;
    bool differ = false;  // the two are not the same conditions
    bool used = false;
  };

  Pair white_;
  Pair black_;
};

}  // namespace sluice::flow
