// SPDX-License-Identifier: Apache-2.0
#include "agent/adopt_seed.h"

#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_sctp.h>
#include <linux/netfilter/nf_conntrack_tcp.h>

#include <endian.h>

namespace sluice::agent {
namespace {

bool is_icmp(std::uint8_t protocol) {
  return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6;
}

bool has_ports(std::uint8_t protocol) {
  return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP ||
         protocol == IPPROTO_SCTP;
}

bool is_echo(const TrackedFlow& flow) {
  return flow.icmp_type ==
         (flow.protocol == IPPROTO_ICMP ? ICMP_ECHO : ICMPV6_ECHO_REQUEST);
}

bool is_over(const TrackedFlow& flow) {
  if ((flow.status & IPS_DYING) != 0) {
    return true;
  }
  switch (flow.protocol) {
    case IPPROTO_TCP:
      return flow.state == TCP_CONNTRACK_NONE ||
             flow.state == TCP_CONNTRACK_TIME_WAIT ||
             flow.state == TCP_CONNTRACK_CLOSE;
    case IPPROTO_SCTP:
      // Until an INIT is answered, the kernel calls the association closed.
      return flow.state == SCTP_CONNTRACK_NONE ||
             (flow.state == SCTP_CONNTRACK_CLOSED &&
              (flow.status & IPS_SEEN_REPLY) != 0);
    default:
      return is_icmp(flow.protocol) && !is_echo(flow);
  }
}

std::uint8_t fin_of(int direction) {
  return static_cast<std::uint8_t>(SLUICE_CT_FIN_INGRESS << direction);
}

// Returns which ends have closed their half of a connection.
std::uint8_t fins_of(const TrackedFlow& flow, int opened_by) {
  if (flow.protocol != IPPROTO_TCP) {
    return 0;
  }
  if (flow.state == TCP_CONNTRACK_LAST_ACK) {
    return SLUICE_CT_FIN_INGRESS | SLUICE_CT_FIN_EGRESS;
  }
  if (flow.state != TCP_CONNTRACK_FIN_WAIT &&
      flow.state != TCP_CONNTRACK_CLOSE_WAIT) {
    return 0;
  }
  std::uint8_t bits = 0;
  if ((flow.tcp_flags[0] & IP_CT_TCP_FLAG_CLOSE_INIT) != 0) {
    bits |= fin_of(opened_by);
  }
  if ((flow.tcp_flags[1] & IP_CT_TCP_FLAG_CLOSE_INIT) != 0) {
    bits |= fin_of(opened_by ^ 1);
  }
  return bits;
}

std::uint8_t state_of(const TrackedFlow& flow, int opened_by) {
  std::uint8_t bits = fins_of(flow, opened_by);
  if ((flow.status & IPS_SEEN_REPLY) != 0) {
    bits |= SLUICE_CT_REPLIED;
  }
  return bits;
}

// True if a packet with one of the node's addresses as source is from the
// node's own stack. From outside, the kernel accepts such packets only for
// IPv6, and a forged address cannot complete a TCP handshake.
bool is_nodes_own(const TrackedFlow& flow) {
  const bool handshake =
      flow.protocol == IPPROTO_TCP && (flow.status & IPS_ASSURED) != 0;
  return !flow.original.source.v6 || handshake;
}

// For a flow to the pod: sets the opener if the source address does not
// identify it.
void set_origin(const TrackedFlow& flow, const NodeAddresses& node,
                Seed& seed) {
  const IpAddress& source = flow.original.source;
  if (node.contains(source)) {
    seed.state |= is_nodes_own(flow) ? SLUICE_CT_FROM_NODE : SLUICE_CT_UNTRACED;
  } else if (source != flow.reply.destination) {
    seed.state |= SLUICE_CT_MASQUERADED;
    seed.origin = source;
  }
}

// `local` and `remote` are the ports of the two ends as seen at the veth.
Seed make_seed(const TrackedFlow& flow, std::uint32_t ifindex,
               std::uint8_t opened_by, __be16 local, __be16 remote) {
  Seed seed{.ifindex = ifindex,
            .remote = {},
            .protocol = flow.protocol,
            .opened_by = opened_by,
            .state = state_of(flow, opened_by),
            .origin = {}};
  if (is_icmp(flow.protocol)) {
    seed.local_port = local;
    seed.remote_port = opened_by == SLUICE_EGRESS ? 0 : htobe16(1);
  } else if (has_ports(flow.protocol)) {
    seed.local_port = local;
    seed.remote_port = remote;
  }
  return seed;
}

}  // namespace

// The kernel gives a connection that it picks up these two flags in both
// directions, and never learns a window scale for it.
bool is_picked_up(const TrackedFlow& flow) {
  constexpr std::uint8_t kAssumed =
      IP_CT_TCP_FLAG_SACK_PERM | IP_CT_TCP_FLAG_BE_LIBERAL;
  constexpr std::uint8_t kMask = kAssumed | IP_CT_TCP_FLAG_WINDOW_SCALE;
  return flow.protocol == IPPROTO_TCP &&
         (flow.tcp_flags[0] & kMask) == kAssumed &&
         (flow.tcp_flags[1] & kMask) == kAssumed;
}

std::vector<Seed> seeds_of(const TrackedFlow& flow,
                           const AdoptedAddresses& adopted,
                           const NodeAddresses& node) {
  std::vector<Seed> result;
  const auto opener = adopted.find(flow.original.source);
  const auto target = adopted.find(flow.reply.source);
  if ((opener == adopted.end() && target == adopted.end()) || is_over(flow) ||
      is_picked_up(flow)) {
    return result;
  }
  if (opener != adopted.end()) {
    auto& seed = result.emplace_back(
        make_seed(flow, opener->second, SLUICE_EGRESS,
                  flow.original.source_port, flow.original.destination_port));
    seed.remote = flow.original.destination;
  }
  if (target != adopted.end()) {
    auto& seed = result.emplace_back(
        make_seed(flow, target->second, SLUICE_INGRESS, flow.reply.source_port,
                  flow.reply.destination_port));
    seed.remote = flow.reply.destination;
    set_origin(flow, node, seed);
  }
  return result;
}

}  // namespace sluice::agent
