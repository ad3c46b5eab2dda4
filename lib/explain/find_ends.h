// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/ip.h"
#include "lib/base/result.h"
#include "lib/explain/ends.h"
#include "lib/explain/text.h"
#include "lib/policy/translator.h"

namespace sluice::explain {

// One end of a question about a whole cluster.
struct End : ExplainEnd {
  const kube::Pod* pod = nullptr;          // that it is, or whose address
  const kube::Service* service = nullptr;  // that it was asked for as
  std::optional<IpPrefix> prefix;          // in place of single addresses
};

// The names of all pods, "namespace/pod".
using KnownPods = std::function<std::vector<std::string>()>;

// Finds what an end names: "namespace/pod", an address, a prefix, "node/NAME",
// "svc/NAMESPACE/NAME" or "NAME.NAMESPACE.svc", also with the cluster's domain.
// Fails, naming the option, if there is no such object, and says which of the
// known pods may be meant; they are asked for only then.
Result<End> find_end(const policy::Translator& translator,
                     const std::string& text, const char* option,
                     const KnownPods& known_pods);

// The port of the question; also one of the receiver's container ports, or a
// port of the Service, by its name.
Result<PortArgument> find_port(const std::string& text, const End& to);

}  // namespace sluice::explain
