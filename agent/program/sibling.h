// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sluice/state.h"

// Policies for a pod that starts while no operator can be reached, from pods of
// this node that were made from the same template.
namespace sluice::agentd {

// Of a pod that a Deployment has made, "namespace/name" without the random part
// at the end: "x/web-5d4c9b7d6f" of "x/web-5d4c9b7d6f-2xk9p". The pods that
// share it were made from one template, whose hash it contains, and so with the
// same labels, service account and ports. Empty for any other name. Refers to
// `pod`.
std::string_view pod_template(std::string_view pod);

// What is enforced for the pods of `endpoints` that have the template of `pod`,
// as an endpoint of that name with these addresses. Absent if there is none, or
// if they differ: somebody has changed one's labels.
std::optional<EndpointEntry> as_siblings(
    const std::string& pod, const std::vector<IpAddress>& ips,
    const std::vector<EndpointEntry>& endpoints);

}  // namespace sluice::agentd
