// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/cluster_request.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "lib/flow/cursor.h"
#include "lib/flow/time.h"

namespace sluice::flow {
namespace {

// A client that wants everything says so by a number without an end.
constexpr std::uint64_t kAll = std::uint64_t{1} << 32U;

// What has_end_in() needs of a flow, whatever the client wants of it.
constexpr std::array kNamespaces{"source.namespace", "destination.namespace",
                                 "source_service.namespace",
                                 "destination_service.namespace"};

}  // namespace

bool has_end_in(const ::flow::Flow& flow,
                const std::vector<std::string>& namespaces) {
  return namespaces.empty() ||
         std::ranges::any_of(namespaces, [&](const std::string& name) {
           return flow.source().namespace_() == name ||
                  flow.destination().namespace_() == name ||
                  flow.source_service().namespace_() == name ||
                  flow.destination_service().namespace_() == name;
         });
}

Result<FlowMask> prepare_request(ClusterReader::Request& request,
                                 const ClusterReaderOptions& options) {
  auto& flows = request.flows;
  if (flows.ByteSizeLong() > kClusterRequestBytesMax) {
    return fail("request too large: " + std::to_string(flows.ByteSizeLong()) +
                " bytes, limit " + std::to_string(kClusterRequestBytesMax));
  }
  if (flows.first() && flows.follow()) {
    return fail("first and follow cannot be combined");
  }
  // Each node would refuse them.
  if (const auto filters = compile_filters(flows, {}); !filters) {
    return std::unexpected(filters.error());
  }
  if (flows.number() >= kAll) {
    flows.set_number(0);
    if (flows.follow() && !flows.has_since()) {
      set_time(0, *flows.mutable_since());
    }
  }
  if (flows.number() > options.last_max && !flows.first() &&
      !flows.has_since()) {
    return fail("the last " + std::to_string(flows.number()) +
                " flows; of a cluster, the last " +
                std::to_string(options.last_max) +
                ", all flows or those since a time are possible");
  }
  auto mask = FlowMask::parse(flows.field_mask());
  if (!mask) {
    return std::unexpected(mask.error());
  }
  if (flows.field_mask().paths_size() > 0 && !request.namespaces.empty()) {
    for (const auto* path : kNamespaces) {
      flows.mutable_field_mask()->add_paths(path);
    }
    if (const auto asked = FlowMask::parse(flows.field_mask()); !asked) {
      return std::unexpected(asked.error());
    }
  }
  return mask;
}

}  // namespace sluice::flow
