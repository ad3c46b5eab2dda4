/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "context.bpf.h"
#include "parse.bpf.h"
#include "peers.bpf.h"

/*
 * Protocols that every link needs whatever the policy: ARP, neighbour discovery and multicast
 * listener discovery. From a pod they pass only in the exact form of these protocols, with no room
 * for data, and only to destinations to which no router forwards; everything else is judged by
 * policy like any packet. A pod may speak only for its own addresses and not as a router. In both
 * directions a hop limit of 255 proves that no router has forwarded a message (RFC 4861, 6.1 and
 * 7.1).
 */

#define ICMP6_LISTENER_QUERY 130
#define ICMP6_LISTENER_REPORT 131
#define ICMP6_LISTENER_DONE 132
#define ICMP6_ROUTER_SOLICITATION 133
#define ICMP6_ROUTER_ADVERTISEMENT 134
#define ICMP6_NEIGHBOUR_SOLICITATION 135
#define ICMP6_NEIGHBOUR_ADVERTISEMENT 136
#define ICMP6_REDIRECT 137
#define ICMP6_LISTENER_REPORT_2 143

/* RFC 4861, 4.6; RFC 3971, 5.3.2: options of one unit that are not a router's. */
#define ND_OPTION_SOURCE_LINK_ADDRESS 1
#define ND_OPTION_TARGET_LINK_ADDRESS 2
#define ND_OPTION_NONCE 14
#define ND_OPTION_UNIT 8
#define ND_OPTIONS_MAX 2

#define ROUTER_SOLICITATION_SIZE 8
#define NEIGHBOUR_MESSAGE_SIZE 24
#define LISTENER_MESSAGE_SIZE 24
#define LISTENER_REPORT_2_SIZE 8
#define LISTENER_RECORD_SIZE 20 /* without sources */
#define LISTENER_RECORDS_MAX 16

static __always_inline bool is_link_local(const union address *a)
{
	return (a->v6[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

static __always_inline bool is_unspecified(const union address *a)
{
	return !(a->v6[0] | a->v6[1] | a->v6[2] | a->v6[3]);
}

static __always_inline bool is_multicast6(const union address *a)
{
	return *(const __u8 *)a->v6 == 0xff;
}

/* ff02::X */
static __always_inline bool is_link_group(const union address *a, __u32 group)
{
	return a->v6[0] == bpf_htonl(0xff020000) && !a->v6[1] && !a->v6[2] &&
	       a->v6[3] == bpf_htonl(group);
}

#define ALL_NODES 1
#define ALL_ROUTERS 2
#define ALL_LISTENER_ROUTERS 0x16 /* RFC 3810, 5.2.14 */

/* RFC 4291, 2.7.1: ff02::1:ff00:0/104 and the low 24 bits of the address. */
static __always_inline bool is_solicited_node_of(const union address *group,
						 const union address *target)
{
	return group->v6[0] == bpf_htonl(0xff020000) && !group->v6[1] &&
	       group->v6[2] == bpf_htonl(1) &&
	       group->v6[3] == (target->v6[3] | bpf_htonl(0xff000000));
}

/* True if both agree in their first `length` bits; `length` is at most 128. */
static __always_inline bool share_prefix6(const union address *a, const __be32 *b, __u32 length)
{
	for (__u32 i = 0; i < 4; i++) {
		__u32 bits = length > 32 * i ? length - 32 * i : 0;
		__u32 differ = bpf_ntohl(a->v6[i] ^ b[i]);

		if (bits >= 32 ? differ : bits ? differ >> (32 - bits) : 0)
			return false;
	}
	return true;
}

/*
 * False for an unclaimed interface, whose addresses are unknown; neighbour discovery there finds
 * them.
 */
static __always_inline bool has_addresses(const struct context *c)
{
	const __be32 *own = (const __be32 *)c->endpoint->ipv6;

	return c->endpoint->ipv4 || own[0] | own[1] | own[2] | own[3];
}

/* True if the pod may speak for any address, or if its own are unknown. */
static __always_inline bool may_speak_for_others(const struct context *c)
{
	return c->flags & SLUICE_EP_ANY_NEIGHBOUR || !has_addresses(c);
}

/*
 * True for a link-local address that may be the pod's. The datapath does not know which one the pod
 * has chosen, but it knows those of the node, above all the bridge's.
 */
static __always_inline bool may_be_own_link_local(const struct context *c, const union address *a)
{
	return is_link_local(a) && !(peer_class(c, a, true) & SLUICE_CIDR_LOCAL_NODE);
}

/*
 * True for destinations to which no router forwards packets of the pod: link-local addresses, the
 * node's own, and those of the subnet that the pod shares with its bridge.
 */
static __always_inline bool is_on_link(const struct context *c, const union address *a)
{
	const __be32 *own = (const __be32 *)c->endpoint->ipv6;

	if (is_link_local(a) || peer_class(c, a, true) & SLUICE_CIDR_LOCAL_NODE)
		return true;
	return c->endpoint->on_link6 && c->endpoint->on_link6 < 128 &&
	       share_prefix6(a, own, c->endpoint->on_link6);
}

static __always_inline bool is_same_link(const __u8 *a, const __u8 *b)
{
	for (int i = 0; i < ETH_ALEN; i++) {
		if (a[i] != b[i])
			return false;
	}
	return true;
}

/* From a pod, such a message would make it the router, or querier, of its neighbours. */
static __always_inline bool is_router_message(const struct packet *p)
{
	__u8 type = icmp_type(p->dport);

	return p->protocol == IPPROTO_ICMPV6 && p->prefixlen == SLUICE_PREFIX_PORT &&
	       (type == ICMP6_ROUTER_ADVERTISEMENT || type == ICMP6_REDIRECT ||
		type == ICMP6_LISTENER_QUERY);
}

static __always_inline bool is_neighbour_discovery(const struct packet *p)
{
	__u8 type = icmp_type(p->dport);

	return p->hop_limit == 255 && type >= ICMP6_ROUTER_SOLICITATION && type <= ICMP6_REDIRECT;
}

/* RFC 2710, RFC 3810: where switches snoop, the groups of neighbour discovery depend on it. */
static __always_inline bool is_multicast_listener(const struct packet *p)
{
	__u8 type = icmp_type(p->dport);

	return p->hop_limit == 1 && is_multicast6(&p->destination) &&
	       (is_link_local(&p->source) || is_unspecified(&p->source)) &&
	       ((type >= ICMP6_LISTENER_QUERY && type <= ICMP6_LISTENER_DONE) ||
		type == ICMP6_LISTENER_REPORT_2);
}

/*
 * True if nothing follows the message except options with the frame's own link address or a nonce.
 */
static __always_inline bool has_neighbour_options(const struct context *c, __u32 size)
{
	__u32 at = c->packet.l4 + size;
	__u8 sender[ETH_ALEN];

	if (bpf_skb_load_bytes(c->skb, offsetof(struct ethhdr, h_source), sender, sizeof(sender)))
		return false;

	for (int i = 0; i < ND_OPTIONS_MAX; i++) {
		struct {
			__u8 type;
			__u8 units;
			__u8 link[ETH_ALEN];
		} option;
		bool has_link;

		if (at == c->packet.end)
			break;
		if (bpf_skb_load_bytes(c->skb, at, &option, sizeof(option)) || option.units != 1)
			return false;
		has_link = option.type == ND_OPTION_SOURCE_LINK_ADDRESS ||
			   option.type == ND_OPTION_TARGET_LINK_ADDRESS;
		if (!has_link && option.type != ND_OPTION_NONCE)
			return false;
		if (has_link && !may_speak_for_others(c) && !is_same_link(option.link, sender))
			return false;
		at += ND_OPTION_UNIT;
	}
	return at == c->packet.end;
}

static __always_inline bool is_pods_solicitation(const struct context *c,
						 const union address *target)
{
	const union address *to = &c->packet.destination;

	if (is_multicast6(target))
		return false;
	return is_solicited_node_of(to, target) ||
	       (same_address(to, target, true) && is_on_link(c, to));
}

static __always_inline bool is_pods_advertisement(const struct context *c,
						  const union address *target)
{
	const union address *to = &c->packet.destination;

	if (!may_speak_for_others(c) && !is_own(c, target, true) &&
	    !may_be_own_link_local(c, target))
		return false;
	return is_link_group(to, ALL_NODES) || (!is_multicast6(to) && is_on_link(c, to));
}

/* RFC 4861, 4.1, 4.3 and 4.4, as a host sends them. */
static __always_inline bool is_pods_neighbour_discovery(const struct context *c)
{
	const struct packet *p = &c->packet;
	__u8 type = icmp_type(p->dport);
	union address target;

	if (p->hop_limit != 255 || p->l4 != ETH_HLEN + sizeof(struct ipv6hdr))
		return false;
	if (type == ICMP6_ROUTER_SOLICITATION)
		return is_link_group(&p->destination, ALL_ROUTERS) &&
		       has_neighbour_options(c, ROUTER_SOLICITATION_SIZE);
	if (type != ICMP6_NEIGHBOUR_SOLICITATION && type != ICMP6_NEIGHBOUR_ADVERTISEMENT)
		return false;
	if (bpf_skb_load_bytes(c->skb, p->l4 + 8, &target, sizeof(target)) ||
	    !has_neighbour_options(c, NEIGHBOUR_MESSAGE_SIZE))
		return false;
	return type == ICMP6_NEIGHBOUR_SOLICITATION ? is_pods_solicitation(c, &target)
						    : is_pods_advertisement(c, &target);
}

/* RFC 2711: the hop-by-hop header of listener messages, with its padding. */
static __always_inline bool is_behind_router_alert(const struct context *c)
{
	const __u8 expected[] __attribute__((aligned(8))) = {IPPROTO_ICMPV6, 0, 5, 2, 0, 0, 1, 0};
	__u8 header[sizeof(expected)] __attribute__((aligned(8)));

	if (c->packet.l4 != ETH_HLEN + sizeof(struct ipv6hdr) + sizeof(header) ||
	    bpf_skb_load_bytes(c->skb, ETH_HLEN + sizeof(struct ipv6hdr), header, sizeof(header)))
		return false;
	return *(const __u64 *)header == *(const __u64 *)expected;
}

/*
 * Reports name groups, each in a record of its own, to the routers of the link;
 * a hop limit of 1 keeps them there.
 */
static __always_inline bool is_pods_listener_message(const struct context *c)
{
	const struct packet *p = &c->packet;
	__u32 size = p->end - p->l4;
	__u8 type = icmp_type(p->dport);

	if (!is_multicast_listener(p) || !is_behind_router_alert(c))
		return false;
	if (type == ICMP6_LISTENER_REPORT_2)
		return is_link_group(&p->destination, ALL_LISTENER_ROUTERS) &&
		       size >= LISTENER_REPORT_2_SIZE + LISTENER_RECORD_SIZE &&
		       size <= LISTENER_REPORT_2_SIZE +
				       LISTENER_RECORDS_MAX * LISTENER_RECORD_SIZE &&
		       (size - LISTENER_REPORT_2_SIZE) % LISTENER_RECORD_SIZE == 0;
	if (size != LISTENER_MESSAGE_SIZE)
		return false;
	if (type == ICMP6_LISTENER_DONE)
		return is_link_group(&p->destination, ALL_ROUTERS);

	union address group;

	return type == ICMP6_LISTENER_REPORT &&
	       !bpf_skb_load_bytes(c->skb, p->l4 + 8, &group, sizeof(group)) &&
	       same_address(&group, &p->destination, true);
}

/*
 * Fills c->packet if it is an ICMPv6 message after the IPv6 header or after one hop-by-hop header
 * of eight bytes, and ends with the frame: bytes after the IP packet would pass unseen.
 */
static __always_inline bool parse_link_message(struct context *c)
{
	struct packet *p = &c->packet;
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(c->skb, ETH_HLEN, &ip, sizeof(ip)) || *(const __u8 *)&ip >> 4 != 6)
		return false;
	p->l4 = ETH_HLEN + sizeof(ip);
	p->end = p->l4 + bpf_ntohs(ip.payload_len);
	if (ip.nexthdr == IPPROTO_HOPOPTS)
		p->l4 += 8;
	else if (ip.nexthdr != IPPROTO_ICMPV6)
		return false;
	if (p->end != c->length || bpf_skb_load_bytes(c->skb, p->l4, &p->dport, sizeof(p->dport)))
		return false;
	copy_words(p->source.v6, ip.saddr.in6_u.u6_addr32);
	copy_words(p->destination.v6, ip.daddr.in6_u.u6_addr32);
	p->hop_limit = ip.hop_limit;
	return true;
}

/*
 * Returns NEIGHBOUR_DISCOVERY, MULTICAST_LISTENER, or SLUICE_GO_ON for a packet that needs policy.
 */
static __always_inline __u32 judge_link_message_of_pod(struct context *c)
{
	const struct packet *p = &c->packet;

	if (!parse_link_message(c))
		return SLUICE_GO_ON;
	if (has_addresses(c) && !is_own(c, &p->source, true) &&
	    !may_be_own_link_local(c, &p->source) && !is_unspecified(&p->source))
		return SLUICE_GO_ON;
	if (is_pods_neighbour_discovery(c))
		return SLUICE_REASON_NEIGHBOUR_DISCOVERY;
	return is_pods_listener_message(c) ? SLUICE_REASON_MULTICAST_LISTENER : SLUICE_GO_ON;
}

/*
 * Returns the reason for which an IPv6 message of the link passes or is dropped, or SLUICE_GO_ON.
 */
static __always_inline __u32 judge_link_message(const struct context *c, __u32 direction)
{
	const struct packet *p = &c->packet;

	if (p->protocol != IPPROTO_ICMPV6)
		return SLUICE_GO_ON;
	if (direction == SLUICE_EGRESS)
		return is_router_message(p) ? SLUICE_REASON_ROUTER_MESSAGE : SLUICE_GO_ON;
	if (p->fragment != FRAGMENT_NONE)
		return SLUICE_GO_ON;
	if (is_neighbour_discovery(p))
		return SLUICE_REASON_NEIGHBOUR_DISCOVERY;
	return is_multicast_listener(p) ? SLUICE_REASON_MULTICAST_LISTENER : SLUICE_GO_ON;
}

/* RFC 826, for Ethernet and IPv4. */
struct arp_packet {
	struct ethhdr ethernet;
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_size;
	__u8 protocol_size;
	__be16 operation;
	__u8 sender_link[ETH_ALEN];
	__u8 sender[4];
	__u8 target_link[ETH_ALEN];
	__u8 target[4];
} __attribute__((packed));

#define ARP_HARDWARE_ETHERNET 1
#define ETHERNET_MIN 60

/*
 * No router forwards ARP. From a pod it has no bytes beyond its form and the padding of a short
 * frame; it has the pod's own address, or none (a probe, RFC 5227), and the same link address as
 * the frame.
 */
static __always_inline __u32 judge_arp(const struct context *c, __u32 direction)
{
	struct arp_packet arp;
	__be32 sender;

	if (direction == SLUICE_INGRESS)
		return SLUICE_REASON_ARP;
	if (c->length > ETHERNET_MIN || bpf_skb_load_bytes(c->skb, 0, &arp, sizeof(arp)))
		return SLUICE_REASON_BAD_HEADER;
	if (arp.hardware != bpf_htons(ARP_HARDWARE_ETHERNET) ||
	    arp.protocol != bpf_htons(ETH_P_IP) || arp.hardware_size != ETH_ALEN ||
	    arp.protocol_size != sizeof(sender))
		return SLUICE_REASON_BAD_HEADER;
	if (may_speak_for_others(c))
		return SLUICE_REASON_ARP;
	__builtin_memcpy(&sender, arp.sender, sizeof(sender));
	if (sender && sender != c->endpoint->ipv4)
		return SLUICE_REASON_SOURCE_ADDRESS;
	return is_same_link(arp.sender_link, arp.ethernet.h_source) ? SLUICE_REASON_ARP
								    : SLUICE_REASON_SOURCE_ADDRESS;
}

/*
 * Ports and protocols of tunnels between nodes: flannel's VXLAN, VXLAN (RFC 7348), Geneve (RFC
 * 8926), IP in IP, SIT and GRE. A pod could encapsulate a packet for a node's tunnel device with an
 * arbitrary source address inside.
 */
static __always_inline bool is_tunnel(const struct packet *p)
{
	if (p->protocol == IPPROTO_UDP)
		return p->dport == bpf_htons(8472) || p->dport == bpf_htons(4789) ||
		       p->dport == bpf_htons(6081);
	return p->protocol == IPPROTO_IPIP || p->protocol == IPPROTO_IPV6 ||
	       p->protocol == IPPROTO_GRE;
}

static __always_inline bool is_closed_tunnel(const struct context *c, bool v6)
{
	return is_tunnel(&c->packet) && !(c->flags & SLUICE_EP_TUNNELS) &&
	       peer_class(c, &c->packet.destination, v6) &
		       (SLUICE_CIDR_NODE | SLUICE_CIDR_LOCAL_NODE);
}
