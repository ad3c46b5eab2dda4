// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string_view>

#include <linux/netlink.h>
#include <netlink/attr.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

#include "lib/base/ip.h"
#include "lib/base/result.h"

// An owner for libnl's sockets.
namespace sluice::agent {

struct NetlinkSocketDeleter {
  void operator()(nl_sock* socket) const { nl_socket_free(socket); }
};
using NetlinkSocket = std::unique_ptr<nl_sock, NetlinkSocketDeleter>;

// Connects to a netlink protocol in this network namespace; by default the
// routing one.
Result<NetlinkSocket> netlink_connect(int protocol = NETLINK_ROUTE);
// Subscribes to these groups (RTNLGRP_...) of routing events; reading does not
// wait. `receive_bytes`: size of the buffer, beyond the system's limit if
// permitted. `what` begins the error if the kernel does not know a group.
Result<NetlinkSocket> netlink_subscribe(std::string_view what,
                                        std::initializer_list<int> groups,
                                        int receive_bytes);
// Requests a dump of `type` and passes the messages to the socket's callback.
// Restarts while the data changes during the dump, each time with a call of
// `begin`. `header` is the fixed part of the request. Returns 0 or an error of
// libnl.
int netlink_dump(nl_sock* socket, int type, const void* header,
                 std::size_t size, const std::function<void()>& begin = {});
// nullopt if the attribute is absent or of another family.
std::optional<IpAddress> netlink_address(const nlattr* attribute, int family);
// `error` is an error of libnl, negative.
std::unexpected<Error> fail_netlink(std::string_view what, int error);

}  // namespace sluice::agent
