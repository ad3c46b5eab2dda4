// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/cluster_request.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

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

// Of the bytes of a request: an empty filter takes two, and a kilobyte when it
// is parsed.
std::size_t count_filters(std::string_view bytes) {
  using google::protobuf::internal::WireFormatLite;
  using Request = ::observer::GetFlowsRequest;
  google::protobuf::io::CodedInputStream input(
      reinterpret_cast<const std::uint8_t*>(bytes.data()),
      static_cast<int>(bytes.size()));
  std::size_t count = 0;
  while (const auto tag = input.ReadTag()) {
    const int field = WireFormatLite::GetTagFieldNumber(tag);
    count += field == Request::kWhitelistFieldNumber ||
                     field == Request::kBlacklistFieldNumber
                 ? 1
                 : 0;
    if (!WireFormatLite::SkipField(&input, tag)) {
      break;  // which the parser will say
    }
  }
  return count;
}

}  // namespace

Result<::observer::GetFlowsRequest> parse_flows_request(
    std::string_view bytes) {
  if (bytes.size() > kClusterRequestBytesMax) {
    return fail("request too large: " + std::to_string(bytes.size()) +
                " bytes, limit " + std::to_string(kClusterRequestBytesMax));
  }
  if (const auto count = count_filters(bytes); count > kFiltersMax) {
    return fail("too many filters: " + std::to_string(count) + ", limit " +
                std::to_string(kFiltersMax));
  }
  ::observer::GetFlowsRequest request;
  if (!request.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return fail("not a GetFlowsRequest");
  }
  if (auto few = check_filters(request); !few) {
    return std::unexpected(few.error());
  }
  return request;
}

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
