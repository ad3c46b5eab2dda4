// SPDX-License-Identifier: Apache-2.0
#include "agent/netlink_socket.h"

#include <cerrno>
#include <cstring>
#include <string>

#include <netlink/errno.h>

#include <sys/socket.h>

namespace sluice::agent {
namespace {

constexpr int kDumpTries = 20;

}  // namespace

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

namespace {

Result<NetlinkSocket> netlink_subscribe(std::string_view what,
                                        std::initializer_list<int> groups,
                                        int receive_bytes) {
  auto socket = netlink_connect();
  if (!socket) {
    return socket;
  }
  nl_socket_disable_seq_check(socket->get());
  const int fd = nl_socket_get_fd(socket->get());
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &receive_bytes,
                 sizeof(receive_bytes)) != 0 &&
      setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes,
                 sizeof(receive_bytes)) != 0) {
    return fail_errno("netlink: receive buffer");
  }
  if (const int error = nl_socket_set_nonblocking(socket->get()); error < 0) {
    return fail_netlink("non-blocking", error);
  }
  for (const int group : groups) {
    const int error = nl_socket_add_membership(socket->get(), group);
    if (error < 0) {
      return fail_netlink(what, error);
    }
  }
  return socket;
}

}  // namespace

Result<NetlinkFeed> netlink_feed(std::string_view what,
                                 std::initializer_list<int> groups,
                                 int receive_bytes,
                                 nl_recvmsg_msg_cb_t on_message,
                                 void* context) {
  auto events = netlink_subscribe(what, groups, receive_bytes);
  auto requests = netlink_connect();
  if (!events || !requests) {
    return std::unexpected(events ? requests.error() : events.error());
  }
  for (auto* socket : {events->get(), requests->get()}) {
    nl_socket_modify_cb(socket, NL_CB_VALID, NL_CB_CUSTOM, on_message, context);
  }
  return NetlinkFeed{.events = std::move(*events),
                     .requests = std::move(*requests)};
}

bool netlink_read(nl_sock* events) {
  int error = 0;
  while (error >= 0) {
    error = nl_recvmsgs_default(events);
  }
  // Any error except "nothing more to read" means that events were lost.
  if (error == -NLE_AGAIN) {
    return true;
  }
  while (nl_recvmsgs_default(events) >= 0) {
  }
  return false;
}

int netlink_dump(nl_sock* socket, int type, const void* header,
                 std::size_t size, const std::function<void()>& begin) {
  int error = 0;
  for (int i = 0; i < kDumpTries; ++i) {
    if (begin) {
      begin();
    }
    // libnl does not change the header, but does not say so.
    error = nl_send_simple(socket, type, NLM_F_DUMP, const_cast<void*>(header),
                           size);
    if (error >= 0) {
      error = nl_recvmsgs_default(socket);
    }
    if (error != -NLE_DUMP_INTR) {
      break;
    }
  }
  return error;
}

std::optional<IpAddress> netlink_address(const nlattr* attribute, int family) {
  IpAddress ip;
  ip.v6 = family == AF_INET6;
  const int bytes = ip.bits() / 8;
  if (attribute == nullptr || nla_len(attribute) != bytes) {
    return std::nullopt;
  }
  std::memcpy(ip.bytes.data(), nla_data(attribute), bytes);
  return ip;
}

}  // namespace sluice::agent
