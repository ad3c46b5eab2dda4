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

// A socket of libnl's with an owner.
namespace sluice::agent {

struct NetlinkSocketDeleter {
  void operator()(nl_sock* socket) const { nl_socket_free(socket); }
};
using NetlinkSocket = std::unique_ptr<nl_sock, NetlinkSocketDeleter>;

// To a part of netlink in this network namespace; by default, the routing part.
Result<NetlinkSocket> netlink_connect(int protocol = NETLINK_ROUTE);
// For the events of these groups (RTNLGRP_...) of the routing part; reading
// does not wait. `receive_bytes`: its buffer, beyond the system's limit where
// we may. `what` begins the error if the kernel does not know a group.
Result<NetlinkSocket> netlink_subscribe(std::string_view what,
                                        std::initializer_list<int> groups,
                                        int receive_bytes);
// Asks for a dump of `type` and hands what comes to the socket's callback;
// begins again while things change under it, each time with a call of `begin`.
// `header` is the fixed part of the request. 0 or an error of libnl's.
int netlink_dump(nl_sock* socket, int type, const void* header,
                 std::size_t size, const std::function<void()>& begin = {});
// nullopt if it is not there or not of this family.
std::optional<IpAddress> netlink_address(const nlattr* attribute, int family);
// `error` is one of libnl's, negative.
std::unexpected<Error> fail_netlink(std::string_view what, int error);

}  // namespace sluice::agent
