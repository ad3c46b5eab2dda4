// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "lib/base/result.h"
#include "lib/kube/objects.h"

// Decodes JSON objects, as the API server stores them, to the structs of
// objects.h. Unknown fields are ignored, because the API server validates these
// kinds; a field of the wrong type or an invalid address is an error that names
// the field. No exceptions, whatever the input.
namespace sluice::kube {

Result<Namespace> decode_namespace(const nlohmann::json& object);
Result<Pod> decode_pod(const nlohmann::json& object);
// Converts "2026-01-02T15:04:05Z" to 20260102150405; these numbers compare like
// the times.
std::uint64_t digits_of_time(std::string_view text);
// Reads a hostIP; nullopt if it means every address of the node, or cannot be
// read and is taken to mean this.
std::optional<IpAddress> host_ip_of(std::string_view text);
Result<Node> decode_node(const nlohmann::json& object);
Result<Service> decode_service(const nlohmann::json& object);
Result<EndpointSlice> decode_endpoint_slice(const nlohmann::json& object);
// Strict, as for policies: an invalid CIDR makes the group invalid.
Result<CidrGroup> decode_cidr_group(const nlohmann::json& object);

}  // namespace sluice::kube
