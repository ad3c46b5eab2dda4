// SPDX-License-Identifier: Apache-2.0
#include "cni/host_interface.h"

#include <array>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>

#include "lib/base/fd.h"
#include "lib/base/result.h"

namespace sluice::cni {
namespace {

struct Link {
  std::uint32_t ifindex = 0;
  std::string name;
  std::string kind;
  std::uint32_t peer = 0;  // 0: not reported
};

using Bytes = std::span<const std::byte>;

template <typename Visit>
void for_each_attribute(Bytes bytes, Visit visit) {
  while (bytes.size() >= sizeof(rtattr)) {
    rtattr header{};
    std::memcpy(&header, bytes.data(), sizeof(header));
    if (header.rta_len < sizeof(header) || header.rta_len > bytes.size()) {
      return;
    }
    visit(header.rta_type & NLA_TYPE_MASK,
          bytes.subspan(sizeof(header), header.rta_len - sizeof(header)));
    const std::size_t step = RTA_ALIGN(header.rta_len);
    bytes = bytes.subspan(std::min(step, bytes.size()));
  }
}

std::string text_in(Bytes bytes) {
  const std::string_view all(reinterpret_cast<const char*>(bytes.data()),
                             bytes.size());
  return std::string(all.substr(0, all.find('\0')));
}

Link parse_link(Bytes message) {
  Link link;
  ifinfomsg info{};
  if (message.size() < sizeof(info)) {
    return link;
  }
  std::memcpy(&info, message.data(), sizeof(info));
  link.ifindex = static_cast<std::uint32_t>(info.ifi_index);
  const auto attributes = message.subspan(
      std::min<std::size_t>(NLMSG_ALIGN(sizeof(info)), message.size()));
  for_each_attribute(attributes, [&](int type, Bytes value) {
    if (type == IFLA_IFNAME) {
      link.name = text_in(value);
    } else if (type == IFLA_LINK && value.size() == sizeof(link.peer)) {
      std::memcpy(&link.peer, value.data(), sizeof(link.peer));
    } else if (type == IFLA_LINKINFO) {
      for_each_attribute(value, [&](int inner, Bytes kind) {
        if (inner == IFLA_INFO_KIND) {
          link.kind = text_in(kind);
        }
      });
    }
  });
  return link;
}

struct Request {
  nlmsghdr header{};
  ifinfomsg info{};
  rtattr attribute{};
  std::array<char, IFNAMSIZ> name{};
};

// Looks up an interface by name, or by number if the name is empty. nullopt:
// there is none.
Result<std::optional<Link>> ask(int fd, const std::string& name,
                                std::uint32_t ifindex) {
  Request request;
  request.header.nlmsg_type = RTM_GETLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST;
  request.header.nlmsg_len = NLMSG_LENGTH(sizeof(request.info));
  request.info.ifi_index = static_cast<int>(ifindex);
  if (!name.empty()) {
    if (name.size() >= request.name.size()) {
      return std::nullopt;  // no interface can have such a name
    }
    name.copy(request.name.data(), name.size());
    request.attribute.rta_type = IFLA_IFNAME;
    request.attribute.rta_len =
        static_cast<unsigned short>(RTA_LENGTH(name.size() + 1));
    request.header.nlmsg_len = sizeof(request);
  }
  if (::send(fd, &request, request.header.nlmsg_len, 0) < 0) {
    return fail_errno("netlink");
  }
  std::array<std::byte, 65536> reply{};
  const auto got = ::recv(fd, reply.data(), reply.size(), 0);
  if (got < static_cast<ssize_t>(sizeof(nlmsghdr))) {
    return fail_errno("netlink");
  }
  nlmsghdr header{};
  std::memcpy(&header, reply.data(), sizeof(header));
  const auto size =
      std::min<std::size_t>(header.nlmsg_len, static_cast<std::size_t>(got));
  const auto body = Bytes(reply).first(size).subspan(
      std::min<std::size_t>(NLMSG_HDRLEN, size));
  if (header.nlmsg_type == NLMSG_ERROR) {
    nlmsgerr error{};
    std::memcpy(&error, body.data(), std::min(sizeof(error), body.size()));
    if (error.error == -ENODEV) {
      return std::nullopt;
    }
    return fail_errno("netlink", -error.error);
  }
  return parse_link(body);
}

Result<Fd> open_netlink() {
  Fd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd.valid()) {
    return fail_errno("netlink");
  }
  return fd;
}

// Opens a socket in another network namespace; this process stays in its own.
Result<Fd> open_netlink_in(const std::string& netns) {
  const Fd there(::open(netns.c_str(), O_RDONLY | O_CLOEXEC));
  const Fd here(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!there.valid() || !here.valid()) {
    return fail_errno(netns);
  }
  if (::setns(there.get(), CLONE_NEWNET) != 0) {
    return fail_errno(netns);
  }
  auto fd = open_netlink();
  if (::setns(here.get(), CLONE_NEWNET) != 0) {
    return fail_errno("/proc/self/ns/net");
  }
  return fd;
}

std::unexpected<CniError> cannot_ask(const Error& error) {
  return refuse(Code::kIo, "Network interfaces cannot be read.", error.message);
}

// Chooses the veth among the interfaces that the previous plugin lists.
CniResult<HostInterface> find_named(int own,
                                    const std::vector<std::string>& named) {
  if (named.empty()) {
    return refuse(Code::kBadEnvironment,
                  "CNI_NETNS is needed, because prevResult names no interface "
                  "of the node.");
  }
  std::optional<HostInterface> found;
  for (const auto& name : named) {
    const auto link = ask(own, name, 0);
    if (!link) {
      return cannot_ask(link.error());
    }
    if (!*link) {
      return refuse(Code::kNoInterface, "prevResult names interface " + name +
                                            ", which is not on the node.");
    }
    if ((*link)->kind == "veth") {
      if (found) {
        return refuse(Code::kNoInterface,
                      "prevResult names several interfaces of the node, and "
                      "without CNI_NETNS nothing tells which is the pod's.");
      }
      found = {.name = (*link)->name, .ifindex = (*link)->ifindex};
    }
  }
  if (!found) {
    return refuse(Code::kNoInterface, "prevResult names no veth on the node.");
  }
  return *found;
}

}  // namespace

CniResult<HostInterface> find_host_interface(
    const std::string& netns, const std::string& ifname,
    const std::vector<std::string>& named) {
  const auto own = open_netlink();
  if (!own) {
    return cannot_ask(own.error());
  }
  if (netns.empty()) {
    return find_named(own->get(), named);
  }
  const auto pods = open_netlink_in(netns);
  if (!pods) {
    return refuse(Code::kUnknownContainer,
                  "The pod's network namespace cannot be opened.",
                  pods.error().message);
  }
  const auto inner = ask(pods->get(), ifname, 0);
  if (!inner) {
    return cannot_ask(inner.error());
  }
  if (!*inner) {
    return refuse(Code::kNoInterface,
                  "The pod has no interface " + ifname + " in " + netns + ".");
  }
  if ((*inner)->kind != "veth") {
    return refuse(Code::kNoInterface, "The pod's interface " + ifname +
                                          " is no veth but of kind "
                                          "\"" +
                                          (*inner)->kind +
                                          "\", on which Sluice cannot "
                                          "enforce policy.");
  }
  const auto outer = ask(own->get(), {}, (*inner)->peer);
  if (!outer) {
    return cannot_ask(outer.error());
  }
  if (!*outer || (*outer)->kind != "veth" ||
      (*outer)->peer != (*inner)->ifindex) {
    return refuse(Code::kNoInterface,
                  "The other end of the pod's interface " + ifname +
                      " is not in the node's network namespace.");
  }
  return HostInterface{.name = (*outer)->name, .ifindex = (*outer)->ifindex};
}

}  // namespace sluice::cni
