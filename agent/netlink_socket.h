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
// A subscription to routing events, and a socket to request dumps with.
struct NetlinkFeed {
  NetlinkSocket events;  // reading does not wait
  NetlinkSocket requests;
};
// Subscribes to these groups (RTNLGRP_...). `receive_bytes`: size of the
// buffer for events, beyond the system's limit if permitted. `what` begins the
// error if the kernel does not know a group. Both sockets pass their messages
// to `on_message` with `context`, which outlives them.
Result<NetlinkFeed> netlink_feed(std::string_view what,
                                 std::initializer_list<int> groups,
                                 int receive_bytes,
                                 nl_recvmsg_msg_cb_t on_message, void* context);
// Reads the events that have arrived. False if some were lost.
bool netlink_read(nl_sock* events);
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
