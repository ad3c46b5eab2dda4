/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "conntrack.bpf.h"
#include "context.bpf.h"
#include "flow_policy.bpf.h"
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
	/*
	 * RFC 792: unreachable, time exceeded, parameter problem. A redirect is no error: it would
	 * let the sender of a flow's packets choose the flow's route. Source quench is obsolete
	 * (RFC 6633).
	 */
	return type == 3 || type == 11 || type == 12;
}

/*
 * True if the quoted packet belongs to an allowed flow of the endpoint. It went in the opposite
 * direction of the error. Creates no state.
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
		/*
		 * An error must go to the sender of the quoted packet; otherwise it could carry
		 * data to anyone.
		 */
		if (!is_own(c, &quoted.destination, v6) ||
		    !same_address(&quoted.source, &c->packet.destination, v6))
			return false;
	}
	struct sluice_conntrack *flow = find_flow(c, &key, &quoted, quoted_direction, v6);

	return flow && !is_expired(c, flow, quoted.protocol) &&
	       is_flow_allowed(c, flow, &key, &quoted, quoted_direction, &ignored, v6);
}
