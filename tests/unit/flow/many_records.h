// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "lib/flow/store.h"
#include "observer.pb.h"

namespace sluice::flow {

inline constexpr std::size_t kManyRecords = 65'536;

// Flows with many labels, for which the filter below takes long.
inline void add_many(Store& store) {
  End end{.ns = "shop", .pod = "a"};
  for (int i = 0; i < 50; ++i) {
    end.labels.push_back("k8s:label" + std::to_string(i) + "=x");
  }
  Record record;
  record.from = std::make_shared<const End>(end);
  record.to = record.from;
  record.decision = std::make_shared<const Decision>();
  for (std::size_t i = 0; i < kManyRecords; ++i) {
    record.time = static_cast<std::int64_t>(i);
    store.add(record);
  }
}

// As expensive as a filter may be: about a minute for all of them. It matches
// none.
inline ::observer::GetFlowsRequest most_expensive() {
  std::string selector = "!k8s:none";
  for (int i = 0; i < 998; ++i) {
    selector += ",!k8s:none";
  }
  ::observer::GetFlowsRequest request;
  request.add_whitelist()->add_source_label(selector + ",k8s:none");
  return request;
}

}  // namespace sluice::flow
