// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "lib/base/ip.h"

namespace sluice::ui {

// Whether a request with this Host header is meant for a server that listens at
// `listen`. A page of another site can have its own name resolve to this
// server, and then read its answers, but its requests bear that name. Accepted
// are "localhost", loopback addresses and the server's address, at any port
// because ports may be forwarded; of a server at all addresses, all addresses.
bool is_own_host(std::string_view host, const IpAddress& listen);

}  // namespace sluice::ui
