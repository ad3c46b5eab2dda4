// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/namespaces.h"

#include <algorithm>
#include <array>

namespace sluice::flow {
namespace {

using Names = google::protobuf::RepeatedPtrField<std::string>;

// Of "[namespace/]name" in a filter; empty: any.
std::string namespace_of(const std::string& name) {
  const auto slash = name.find('/');
  return slash == std::string::npos ? "default" : name.substr(0, slash);
}

std::array<const Names*, 4> names_of(const ::flow::FlowFilter& filter) {
  return {&filter.source_pod(), &filter.destination_pod(),
          &filter.source_service(), &filter.destination_service()};
}

}  // namespace

std::set<std::string> named_namespaces(
    const ::observer::GetFlowsRequest& request) {
  std::set<std::string> result;
  for (const auto& filter : request.whitelist()) {
    for (const auto* names : names_of(filter)) {
      for (const auto& name : *names) {
        result.insert(namespace_of(name));
      }
    }
  }
  result.erase("");
  return result;
}

bool is_within(const ::observer::GetFlowsRequest& request,
               const std::vector<std::string>& namespaces) {
  const auto in_one = [&](const std::string& name) {
    return std::ranges::find(namespaces, namespace_of(name)) !=
           namespaces.end();
  };
  return request.whitelist_size() > 0 &&
         std::ranges::all_of(request.whitelist(),
                             [&](const ::flow::FlowFilter& filter) {
                               return std::ranges::any_of(
                                   names_of(filter), [&](const Names* names) {
                                     return !names->empty() &&
                                            std::ranges::all_of(*names, in_one);
                                   });
                             });
}

}  // namespace sluice::flow
