// SPDX-License-Identifier: Apache-2.0
#include "agent/adopt_flow.h"

#include <cstring>

#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netlink/attr.h>
#include <netlink/msg.h>

#include <endian.h>

namespace sluice::agent {
namespace {

// Calls `visit` for every attribute in `parent`.
template <typename Visit>
void for_each(const nlattr* parent, const Visit& visit) {
  int left = nla_len(parent);
  for (const auto* at = static_cast<const nlattr*>(nla_data(parent));
       nla_ok(at, left) != 0; at = nla_next(at, &left)) {
    visit(nla_type(at), at);
  }
}

// Sets the attribute's value; unchanged if the attribute has another length.
template <typename Value>
void read(const nlattr* attribute, Value& to) {
  if (nla_len(attribute) == static_cast<int>(sizeof(to))) {
    std::memcpy(&to, nla_data(attribute), sizeof(to));
  }
}

void read_address(const nlattr* attribute, bool v6, IpAddress& to) {
  to.v6 = v6;
  if (nla_len(attribute) == to.bits() / 8) {
    std::memcpy(to.bytes.data(), nla_data(attribute), to.bits() / 8);
  }
}

void read_addresses(const nlattr* addresses, FlowTuple& tuple) {
  for_each(addresses, [&](int type, const nlattr* at) {
    switch (type) {
      case CTA_IP_V4_SRC:
      case CTA_IP_V6_SRC:
        read_address(at, type == CTA_IP_V6_SRC, tuple.source);
        break;
      case CTA_IP_V4_DST:
      case CTA_IP_V6_DST:
        read_address(at, type == CTA_IP_V6_DST, tuple.destination);
        break;
      default:
        break;
    }
  });
}

struct ProtocolPart {
  std::uint8_t protocol = 0;
  std::uint8_t icmp_type = 0;
};

void read_protocol(const nlattr* parts, FlowTuple& tuple, ProtocolPart& to) {
  for_each(parts, [&](int type, const nlattr* at) {
    switch (type) {
      case CTA_PROTO_NUM:
        read(at, to.protocol);
        break;
      case CTA_PROTO_SRC_PORT:
        read(at, tuple.source_port);
        break;
      case CTA_PROTO_DST_PORT:
        read(at, tuple.destination_port);
        break;
      case CTA_PROTO_ICMP_ID:
      case CTA_PROTO_ICMPV6_ID:
        read(at, tuple.source_port);
        tuple.destination_port = tuple.source_port;
        break;
      case CTA_PROTO_ICMP_TYPE:
      case CTA_PROTO_ICMPV6_TYPE:
        read(at, to.icmp_type);
        break;
      default:
        break;
    }
  });
}

ProtocolPart read_tuple(const nlattr* parts, FlowTuple& tuple) {
  ProtocolPart result;
  for_each(parts, [&](int type, const nlattr* at) {
    if (type == CTA_TUPLE_IP) {
      read_addresses(at, tuple);
    } else if (type == CTA_TUPLE_PROTO) {
      read_protocol(at, tuple, result);
    }
  });
  return result;
}

void read_flags(const nlattr* attribute, std::uint8_t& to) {
  nf_ct_tcp_flags flags{};
  read(attribute, flags);
  to = flags.flags;
}

void read_state(const nlattr* protocols, TrackedFlow& flow) {
  for_each(protocols, [&](int protocol, const nlattr* parts) {
    for_each(parts, [&](int type, const nlattr* at) {
      if (protocol == CTA_PROTOINFO_SCTP) {
        if (type == CTA_PROTOINFO_SCTP_STATE) {
          read(at, flow.state);
        }
      } else if (protocol == CTA_PROTOINFO_TCP) {
        if (type == CTA_PROTOINFO_TCP_STATE) {
          read(at, flow.state);
        } else if (type == CTA_PROTOINFO_TCP_FLAGS_ORIGINAL) {
          read_flags(at, flow.tcp_flags[0]);
        } else if (type == CTA_PROTOINFO_TCP_FLAGS_REPLY) {
          read_flags(at, flow.tcp_flags[1]);
        }
      }
    });
  });
}

bool is_of_flow(const nlmsghdr& header) {
  return NFNL_SUBSYS_ID(header.nlmsg_type) == NFNL_SUBSYS_CTNETLINK &&
         NFNL_MSG_TYPE(header.nlmsg_type) == IPCTNL_MSG_CT_NEW &&
         header.nlmsg_len >= NLMSG_LENGTH(sizeof(nfgenmsg));
}

}  // namespace

std::optional<TrackedFlow> parse_tracked_flow(const nlmsghdr& header) {
  if (!is_of_flow(header)) {
    return std::nullopt;
  }
  TrackedFlow flow;
  bool original = false;
  bool reply = false;
  int left = nlmsg_attrlen(&header, sizeof(nfgenmsg));
  for (const auto* at = nlmsg_attrdata(&header, sizeof(nfgenmsg));
       nla_ok(at, left) != 0; at = nla_next(at, &left)) {
    switch (nla_type(at)) {
      case CTA_TUPLE_ORIG: {
        const auto part = read_tuple(at, flow.original);
        flow.protocol = part.protocol;
        flow.icmp_type = part.icmp_type;
        original = true;
        break;
      }
      case CTA_TUPLE_REPLY:
        (void)read_tuple(at, flow.reply);
        reply = true;
        break;
      case CTA_STATUS:
        read(at, flow.status);
        flow.status = be32toh(flow.status);
        break;
      case CTA_PROTOINFO:
        read_state(at, flow);
        break;
      default:
        break;
    }
  }
  return original && reply ? std::optional(flow) : std::nullopt;
}

}  // namespace sluice::agent
