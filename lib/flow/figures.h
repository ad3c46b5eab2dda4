// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "lib/flow/store.h"
#include "observer.pb.h"

namespace sluice::flow {

// What a node says of its store. `started`: nanoseconds since 1970.
::observer::ServerStatusResponse status_of(const Store& store,
                                           const std::string& version,
                                           std::int64_t started);
// The namespaces of the ends of all its flows, sorted: the first ones, as many
// as fit into a message of kNamespacesBytesMax.
inline constexpr std::size_t kNamespacesBytesMax = 256 << 10;
::observer::GetNamespacesResponse namespaces_of(const Store& store);

}  // namespace sluice::flow
