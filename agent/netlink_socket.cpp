// SPDX-License-Identifier: Apache-2.0
#include "agent/netlink_socket.h"

#include <cerrno>
#include <string>

#include <netlink/errno.h>

namespace sluice::agent {

std::unexpected<Error> fail_netlink(std::string_view what, int error) {
  return fail("netlink: " + std::string(what) + ": " + nl_geterror(error));
}

Result<NetlinkSocket> netlink_connect(int protocol) {
  NetlinkSocket socket(nl_socket_alloc());
  if (!socket) {
    return fail_errno("netlink", ENOMEM);
  }
  if (const int error = nl_connect(socket.get(), protocol); error < 0) {
    return fail_netlink("connect", error);
  }
  nl_socket_enable_msg_peek(socket.get());
  return socket;
}

}  // namespace sluice::agent
