// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string_view>

#include <linux/netlink.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

#include "lib/base/result.h"

// A socket of libnl's with an owner.
namespace sluice::agent {

struct NetlinkSocketDeleter {
  void operator()(nl_sock* socket) const { nl_socket_free(socket); }
};
using NetlinkSocket = std::unique_ptr<nl_sock, NetlinkSocketDeleter>;

// To a part of netlink in this network namespace; by default, the routing part.
Result<NetlinkSocket> netlink_connect(int protocol = NETLINK_ROUTE);
// `error` is one of libnl's, negative.
std::unexpected<Error> fail_netlink(std::string_view what, int error);

}  // namespace sluice::agent
