// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/ip.h"
#include "lib/base/result.h"
#include "lib/explain/ends.h"
#include "lib/explain/text.h"
#include "lib/explain/view.h"
#include "lib/policy/translator.h"

namespace sluice::explain {

// What an end can be called that depends on the pod at the other one.
enum class Entity : std::uint8_t {
  kNone,
  kWorld,  // what is no pod, node, Service or API server
  kHost,   // the pod's own node
  kRemoteNode,
  kApiServer,
};

// One end of a question about a whole cluster.
struct End : ExplainEnd {
  const kube::Pod* pod = nullptr;          // that it is, or whose address
  const kube::Service* service = nullptr;  // that it was asked for as
  // In place of single addresses: prefixes, or of these the addresses that are
  // the entity for the pod at the other end.
  std::vector<IpPrefix> prefixes;
  Entity entity = Entity::kNone;
};

// True if the address is the entity for a pod.
bool is_entity(const policy::Translator& translator, Entity entity,
               const kube::Pod& pod, const IpAddress& address);

// The names of all pods, "namespace/pod".
using KnownPods = std::function<std::vector<std::string>()>;

// Finds what an end names: "namespace/pod", an address, a prefix, "node/NAME",
// "svc/NAMESPACE/NAME" or "NAME.NAMESPACE.svc", also with the cluster's domain,
// or one of the entities world, host, remote-node and kube-apiserver.
// Fails, naming the option, if there is no such object, and says which of the
// known pods may be meant; they are asked for only then.
Result<End> find_end(const policy::Translator& translator,
                     const std::string& text, const char* option,
                     const KnownPods& known_pods);

struct Ends {
  End from;
  End to;
};
// Both ends of a request.
Result<Ends> find_ends(const policy::Translator& translator,
                       const ExplainRequest& request,
                       const KnownPods& known_pods);

// The port of the question; also one of the receiver's container ports, or a
// port of the Service, by its name.
Result<PortArgument> find_port(const std::string& text, const End& to);

}  // namespace sluice::explain
