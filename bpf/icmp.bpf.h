/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "conntrack.bpf.h"
#include "context.bpf.h"
#include "parse.bpf.h"

/* ICMP and ICMPv6 errors are matched by the packet they quote. */

static __always_inline bool is_icmp_error(const struct packet *p, bool v6)
{
	__u8 type = icmp_type(p->dport);

	if (!is_icmp(p->protocol, v6))
		return false;
	/* RFC 4443: unreachable, too big, time exceeded, parameter problem */
	if (v6)
		return type >= 1 && type <= 4;
	/* RFC 792: unreachable, source quench, redirect, time exceeded, parameter problem */
	return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

#define ICMP6_LISTENER_QUERY 130
#define ICMP6_LISTENER_REPORT 131
#define ICMP6_LISTENER_DONE 132
#define ICMP6_ROUTER_SOLICITATION 133
#define ICMP6_ROUTER_ADVERTISEMENT 134
#define ICMP6_REDIRECT 137
#define ICMP6_LISTENER_REPORT_2 143

static __always_inline bool is_link_local(const union address *a)
{
	return (a->v6[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

static __always_inline bool is_unspecified(const union address *a)
{
	return !(a->v6[0] | a->v6[1] | a->v6[2] | a->v6[3]);
}

/* From a pod these would make it its neighbours' router, or querier. */
static __always_inline bool is_router_message(const struct packet *p)
{
	__u8 type = icmp_type(p->dport);

	return p->protocol == IPPROTO_ICMPV6 && p->prefixlen == SLUICE_PREFIX_PORT &&
	       (type == ICMP6_ROUTER_ADVERTISEMENT || type == ICMP6_REDIRECT ||
		type == ICMP6_LISTENER_QUERY);
}

/* RFC 4861; with a hop limit below 255 it has been through a router. */
static __always_inline bool is_neighbour_discovery(const struct packet *p)
{
	__u8 type = icmp_type(p->dport);

	return p->hop_limit == 255 && type >= ICMP6_ROUTER_SOLICITATION && type <= ICMP6_REDIRECT;
}

/* RFC 2710, RFC 3810: neighbour discovery's own groups need it where switches snoop. */
static __always_inline bool is_multicast_listener(const struct packet *p)
{
	__u8 type = icmp_type(p->dport);

	return p->hop_limit == 1 && *(const __u8 *)p->destination.v6 == 0xff &&
	       (is_link_local(&p->source) || is_unspecified(&p->source)) &&
	       ((type >= ICMP6_LISTENER_QUERY && type <= ICMP6_LISTENER_DONE) ||
		type == ICMP6_LISTENER_REPORT_2);
}

/*
 * What IPv6 needs on every link, whatever the policy: the reason, or
 * SLUICE_GO_ON. A pod may ask and answer for itself (from its address, a
 * link-local one, or none yet), and may not speak as a router.
 */
static __always_inline __u32 judge_link_message(const struct context *c, __u32 direction)
{
	const struct packet *p = &c->packet;

	if (p->protocol != IPPROTO_ICMPV6)
		return SLUICE_GO_ON;
	if (direction == SLUICE_EGRESS) {
		if (is_router_message(p))
			return SLUICE_REASON_ROUTER_MESSAGE;
		if (!is_own(c, &p->source, true) && !is_link_local(&p->source) &&
		    !is_unspecified(&p->source))
			return SLUICE_GO_ON;
	}
	if (p->fragment != FRAGMENT_NONE)
		return SLUICE_GO_ON;
	if (is_neighbour_discovery(p))
		return SLUICE_REASON_NEIGHBOUR_DISCOVERY;
	return is_multicast_listener(p) ? SLUICE_REASON_MULTICAST_LISTENER : SLUICE_GO_ON;
}

/*
 * True if the quoted packet belongs to a flow of the endpoint that is allowed.
 * It went the other way than the error. Makes no state.
 */
static __always_inline bool is_related(struct context *c, __u32 direction, bool v6)
{
	const __u32 quoted_direction = direction == SLUICE_INGRESS ? SLUICE_EGRESS : SLUICE_INGRESS;
	struct packet quoted;
	struct decision ignored;
	union conntrack_key key;

	if (c->packet.fragment == FRAGMENT_LATER)
		return false;
	if (parse_carefully(c, &quoted, c->packet.l4 + ICMP_HEADER, v6, true) != SLUICE_GO_ON)
		return false;
	if (quoted.fragment == FRAGMENT_LATER)
		return false;
	if (is_icmp(quoted.protocol, v6) && !is_echo(quoted.dport, v6))
		return false;
	if (quoted_direction == SLUICE_EGRESS) {
		if (!is_own(c, &quoted.source, v6))
			return false;
	} else {
		/* An error goes to the sender of what it quotes, else it could carry data to
		 * anyone. */
		if (!is_own(c, &quoted.destination, v6) ||
		    !same_address(&quoted.source, &c->packet.destination, v6))
			return false;
	}
	struct sluice_conntrack *flow = find_flow(c, &key, &quoted, quoted_direction, v6);

	return flow && !is_expired(c, flow, quoted.protocol) &&
	       is_flow_allowed(c, flow, &quoted, quoted_direction, &ignored, v6);
}
