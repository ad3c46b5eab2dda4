// SPDX-License-Identifier: Apache-2.0
#include "agent/tracking.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <vector>

#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

#include <endian.h>
#include <sys/socket.h>

#include "agent/netlink_socket.h"

namespace sluice::agent {
namespace {

// The kernel fills at most 32 KiB at a time.
constexpr std::size_t kBufferBytes = 64 << 10;
// A dump is restarted if the kernel's table was resized during it.
constexpr int kTries = 5;
// A request for the flows of one address makes the kernel walk its whole table,
// which costs about as much as reading this many flows.
constexpr std::size_t kFlowsPerWalk = 10000;
// From nf_internals.h: the part of a tuple that a filter compares.
constexpr std::uint32_t kFilterSource = 1;

struct MessageDeleter {
  void operator()(nl_msg* message) const { nlmsg_free(message); }
};
using Message = std::unique_ptr<nl_msg, MessageDeleter>;

Message make_request(int type, int flags, std::uint8_t family) {
  Message message(nlmsg_alloc_simple((NFNL_SUBSYS_CTNETLINK << 8) | type,
                                     NLM_F_REQUEST | flags));
  nfgenmsg header{.nfgen_family = family, .version = NFNETLINK_V0, .res_id = 0};
  if (message &&
      nlmsg_append(message.get(), &header, sizeof(header), NLMSG_ALIGNTO) < 0) {
    message.reset();
  }
  return message;
}

// Adds the condition "the source of this direction is that address". False: no
// memory.
bool add_filter(nl_msg* message, const IpAddress& address, int direction) {
  nlattr* filter = nla_nest_start(message, CTA_FILTER);
  if (filter == nullptr ||
      nla_put_u32(message, CTA_FILTER_ORIG_FLAGS,
                  direction == 0 ? kFilterSource : 0) < 0 ||
      nla_put_u32(message, CTA_FILTER_REPLY_FLAGS,
                  direction == 0 ? 0 : kFilterSource) < 0) {
    return false;
  }
  nla_nest_end(message, filter);
  nlattr* tuple = nla_nest_start(
      message, direction == 0 ? CTA_TUPLE_ORIG : CTA_TUPLE_REPLY);
  nlattr* ip =
      tuple == nullptr ? nullptr : nla_nest_start(message, CTA_TUPLE_IP);
  if (ip == nullptr ||
      nla_put(message, address.v6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC,
              address.bits() / 8, address.bytes.data()) < 0) {
    return false;
  }
  nla_nest_end(message, ip);
  nla_nest_end(message, tuple);
  return true;
}

// True if the module is missing, for which nfnetlink returns EINVAL.
bool is_missing(int code) {
  return code == EINVAL || code == EOPNOTSUPP || code == EPROTONOSUPPORT ||
         code == ENOPROTOOPT || code == EAFNOSUPPORT;
}

std::unexpected<Error> fail_tracking(int code) {
  return fail_errno("the kernel's connection tracking",
                    is_missing(code) ? EPROTONOSUPPORT : code);
}

Result<void> send(nl_sock* socket, const Message& message, bool whole) {
  if (!message || !whole) {
    return fail_tracking(ENOMEM);
  }
  if (nl_send_auto(socket, message.get()) < 0) {
    return fail_tracking(errno);
  }
  return {};
}

// Handles a message: tells whether it is the last one of an answer or an error.
// Other messages are passed to `take`; the answer ends if that returns false.
template <typename Take>
Result<bool> ends_answer(nlmsghdr& message, const Take& take) {
  if ((message.nlmsg_flags & NLM_F_DUMP_INTR) != 0) {
    return fail_tracking(EAGAIN);
  }
  if (message.nlmsg_type == NLMSG_DONE) {
    return true;
  }
  if (message.nlmsg_type == NLMSG_ERROR) {
    const int code = -static_cast<nlmsgerr*>(nlmsg_data(&message))->error;
    if (code != 0) {
      return fail_tracking(code);
    }
    return true;
  }
  return !take(message);
}

// Calls `take` for every message of an answer until it returns false or the
// answer ends.
template <typename Take>
Result<void> receive(nl_sock* socket, const Take& take) {
  std::vector<std::byte> buffer(kBufferBytes);
  const int fd = nl_socket_get_fd(socket);
  for (;;) {
    const ssize_t bytes = ::recv(fd, buffer.data(), buffer.size(), MSG_TRUNC);
    if (bytes < 0 && errno == EINTR) {
      continue;
    }
    if (bytes < 0 || static_cast<std::size_t>(bytes) > buffer.size()) {
      return fail_tracking(bytes < 0 ? errno : EMSGSIZE);
    }
    int left = static_cast<int>(bytes);
    for (auto* at = reinterpret_cast<nlmsghdr*>(buffer.data());
         nlmsg_ok(at, left) != 0; at = nlmsg_next(at, &left)) {
      const auto ends = ends_answer(*at, take);
      if (!ends) {
        return std::unexpected(ends.error());
      }
      if (*ends) {
        return {};
      }
    }
  }
}

// Visits the flows of a request, and restarts if the table is resized
// meanwhile; a flow may then be visited twice.
Result<void> dump(const Message& request, bool whole,
                  const Tracking::Visitor& visit) {
  Result<void> result;
  for (int i = 0; i < kTries; ++i) {
    // A dump that was not read to its end would keep its socket busy.
    const auto socket = netlink_connect(NETLINK_NETFILTER);
    if (!socket) {
      return fail_tracking(EPROTONOSUPPORT);
    }
    result = send(socket->get(), request, whole);
    if (result) {
      result = receive(socket->get(), [&](const nlmsghdr& header) {
        const auto flow = parse_tracked_flow(header);
        return !flow || visit(*flow);
      });
    }
    if (result || result.error().code != EAGAIN) {
      break;
    }
  }
  return result;
}

class KernelTracking final : public Tracking {
 public:
  Result<std::uint32_t> count() override;
  Result<bool> has_any(bool v6) override;
  Result<void> read(std::span<const IpAddress> addresses, std::uint32_t flows,
                    const Visitor& visit) override;
};

Result<std::uint32_t> KernelTracking::count() {
  const auto socket = netlink_connect(NETLINK_NETFILTER);
  if (!socket) {
    return fail_tracking(EPROTONOSUPPORT);
  }
  const auto request = make_request(IPCTNL_MSG_CT_GET_STATS, 0, AF_UNSPEC);
  std::uint32_t result = 0;
  auto done = send(socket->get(), request, true);
  if (done) {
    done = receive(socket->get(), [&](const nlmsghdr& header) {
      const nlattr* found =
          nlmsg_find_attr(const_cast<nlmsghdr*>(&header), sizeof(nfgenmsg),
                          CTA_STATS_GLOBAL_ENTRIES);
      if (found != nullptr && nla_len(found) >= 4) {
        result = be32toh(nla_get_u32(found));
      }
      return false;
    });
  }
  return done ? Result<std::uint32_t>(result) : std::unexpected(done.error());
}

Result<bool> KernelTracking::has_any(bool v6) {
  const auto request =
      make_request(IPCTNL_MSG_CT_GET, NLM_F_DUMP, v6 ? AF_INET6 : AF_INET);
  bool any = false;
  auto done = dump(request, true, [&](const TrackedFlow&) {
    any = true;
    return false;
  });
  return done ? Result<bool>(any) : std::unexpected(done.error());
}

Result<void> KernelTracking::read(std::span<const IpAddress> addresses,
                                  std::uint32_t flows, const Visitor& visit) {
  const std::size_t walks = 2 * addresses.size();
  if (walks * kFlowsPerWalk >= flows) {
    return dump(make_request(IPCTNL_MSG_CT_GET, NLM_F_DUMP, AF_UNSPEC), true,
                visit);
  }
  for (const auto& address : addresses) {
    for (const int direction : {0, 1}) {
      const auto request = make_request(IPCTNL_MSG_CT_GET, NLM_F_DUMP,
                                        address.v6 ? AF_INET6 : AF_INET);
      const bool whole =
          request && add_filter(request.get(), address, direction);
      if (auto result = dump(request, whole, visit); !result) {
        return result;
      }
    }
  }
  return {};
}

}  // namespace

std::unique_ptr<Tracking> kernel_tracking() {
  return std::make_unique<KernelTracking>();
}

}  // namespace sluice::agent
