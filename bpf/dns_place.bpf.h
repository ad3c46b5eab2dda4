/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "context.bpf.h"
#include "parse.bpf.h"
#include "policy.bpf.h"

/* Where the message is; what a tail-called program receives in skb->cb. */
struct dns_place {
	__u32 l4;
	__u32 end;
	__u32 policy_id;
	__u32 rule;
	__u8 protocol;
	__u8 list;
	__u8 fragment;
};

/*
 * True if the packet of a flow to or from a DNS server goes to the programs for DNS messages. The
 * rest of a question that comes in fragments goes where its beginning went.
 */
static __always_inline bool may_be_dns(const struct context *c, __u32 direction)
{
	const struct packet *p = &c->packet;

	return reason_allows(c->decision.reason) &&
	       (p->fragment != FRAGMENT_LATER || direction == SLUICE_INGRESS) &&
	       (p->protocol == IPPROTO_UDP || p->protocol == IPPROTO_TCP);
}

/* Hands the place of the message over to load_dns_place() of the next program. */
static __always_inline void store_dns_place(const struct context *c, bool v6)
{
	const struct packet *p = &c->packet;
	const __u32 header = v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);

	c->skb->cb[0] = p->plain ? ETH_HLEN + header : p->l4;
	c->skb->cb[1] = p->plain ? c->length : p->end;
	c->skb->cb[2] = c->policy_id;
	c->skb->cb[3] = c->decision.rule;
	c->skb->cb[4] = p->protocol | (__u32)c->decision.dns << 8 | (__u32)p->fragment << 16;
}

/* What store_dns_place() has stored. */
static __always_inline struct dns_place load_dns_place(const struct __sk_buff *skb)
{
	const __u32 last = skb->cb[4];
	struct dns_place place = {
		.l4 = skb->cb[0],
		.end = skb->cb[1],
		.policy_id = skb->cb[2],
		.rule = skb->cb[3],
		.protocol = last,
		.list = last >> 8,
		.fragment = last >> 16,
	};

	return place;
}

/*
 * Clears decision.dns unless the packet, which has been judged, goes to the programs for DNS
 * messages, and stores the place for these. The last step of judging: what only this needs to know
 * of a packet would cost every packet registers if conclude() did it.
 */
static __always_inline void settle_dns(struct context *c, __u32 direction, bool v6)
{
	if (likely(!c->decision.dns))
		return;
	if (may_be_dns(c, direction))
		store_dns_place(c, v6);
	else
		c->decision.dns = 0;
}
