/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "conntrack.bpf.h"
#include "context.bpf.h"
#include "dns_place.bpf.h"
#include "endpoints.bpf.h"
#include "flow_cache.bpf.h"
#include "flow_policy.bpf.h"
#include "fragments.bpf.h"
#include "icmp.bpf.h"
#include "link.bpf.h"
#include "maps.bpf.h"
#include "origin.bpf.h"
#include "parse.bpf.h"
#include "policy.bpf.h"

/*
 * The order in which a packet is judged; see ARCHITECTURE.md, "Life of a packet". Each function
 * stores the reason in c->decision.
 */

static __always_inline void set_reason(struct context *c, __u32 reason)
{
	c->decision.reason = reason;
}

/* No entry can allow a packet that cannot be parsed. */
static __always_inline void set_unparsed(struct context *c, __u32 direction, __u32 reason)
{
	set_reason(c, is_isolated(c, direction) ? reason : SLUICE_REASON_UNPARSED_ALLOW);
}

static __always_inline void ask_policy(struct context *c, __u32 direction, bool v6)
{
	struct question q = {
		.remote = remote_of(&c->packet, direction),
		.direction = direction,
		.port = c->packet.dport,
		.protocol = c->packet.protocol,
		.prefixlen = c->packet.prefixlen,
	};

	if (direction == SLUICE_EGRESS && unlikely(is_closed_tunnel(c, v6))) {
		set_reason(c, SLUICE_REASON_TUNNEL);
		return;
	}
	if (direction == SLUICE_INGRESS)
		find_origin(c, &q, v6);
	decide_by_policy(c, &q, &c->decision, v6);
}

/*
 * Judges packets without state: errors, ICMP other than echo, packets to addresses that are not the
 * endpoint's.
 */
static __always_inline void judge_stateless(struct context *c, __u32 direction, bool own, bool v6)
{
	bool error = is_icmp_error(&c->packet, v6);

	if (error && own && is_related(c, direction, v6)) {
		set_reason(c, SLUICE_REASON_RELATED);
		return;
	}
	ask_policy(c, direction, v6);
	if (error && c->decision.reason == SLUICE_REASON_DEFAULT_DENY)
		set_reason(c, SLUICE_REASON_ICMP_UNRELATED);
}

/* Judges a later fragment whose first fragment has not passed: only entries without ports apply. */
static __always_inline void judge_lone_fragment(struct context *c, __u32 direction, bool v6)
{
	ask_policy(c, direction, v6);
	if (c->decision.reason == SLUICE_REASON_DEFAULT_DENY)
		set_reason(c, SLUICE_REASON_FRAGMENT_UNKNOWN);
}

/*
 * Handles a segment of a flow that policy has ended. A reset is never answered; our own reset, sent
 * as if by the pod, passes.
 */
static __always_inline void reset_flow(struct context *c, __u32 direction)
{
	const struct packet *p = &c->packet;

	if (p->protocol != IPPROTO_TCP || p->fragment != FRAGMENT_NONE)
		return;
	if (!(p->tcp_flags & TCP_RST)) {
		c->decision.jump = SLUICE_JUMP_RESET;
	} else if (direction == SLUICE_EGRESS && c->skb->mark == c->state->reset_mark) {
		c->skb->mark = 0;
		c->decision.jump = SLUICE_JUMP_NONE;
		set_reason(c, SLUICE_REASON_RESET);
	}
}

/* True if the packet is allowed as one of the flow. */
static __always_inline bool judge_known_flow(struct context *c, struct sluice_conntrack *flow,
					     const union conntrack_key *key,
					     struct cache_place *place, __u32 direction, bool v6)
{
	struct decision *d = &c->decision;
	bool opener = flow->opened_by == direction;

	if (likely(is_flow_allowed(c, flow, key, &c->packet, direction, d, v6))) {
		if (c->packet.plain && unlikely(c->packet.tcp_flags & (TCP_RST | TCP_FIN)))
			settle_flow(c, flow, place, direction, v6);
		touch_flow(c, flow, direction, v6);
		d->jump = SLUICE_JUMP_NONE;
		d->dns = flow->dns;
		set_reason(c, reason_of_known(flow->opened_by, direction));
		return true;
	}
	if (d->ask_names)
		return false;
	if (!opener)
		set_reason(c, SLUICE_REASON_REPLY_OF_DENIED);
	if (c->state->on_policy_change == SLUICE_CHANGE_RESET)
		reset_flow(c, direction);
	return false;
}

/*
 * True for an opening SYN against the flow's direction, or on a flow that has ended: it begins a
 * new flow.
 */
static __always_inline bool starts_over(const struct sluice_conntrack *flow, const struct packet *p,
					__u32 direction)
{
	return is_opening_syn(p) && (flow->opened_by != direction || is_closed(flow));
}

static __always_inline bool is_unasked_reply(const struct packet *p, bool v6)
{
	const __u8 mask = TCP_SYN | TCP_ACK;

	if (p->protocol == IPPROTO_TCP)
		return (p->tcp_flags & mask) == mask;
	return is_icmp(p->protocol, v6) && icmp_type(p->dport) != echo_request_type(v6);
}

/*
 * If the kernel does not track connections, it is unknown which end opened a flow that is older
 * than enforcement. For a bounded time, a segment that the policy of its own direction denies is
 * taken for the reply of a flow that the policy of the other direction allows.
 */
static __always_inline bool adopt_flow(struct context *c, const union conntrack_key *key,
				       __u32 direction, bool v6)
{
	const __u32 opener = direction == SLUICE_INGRESS ? SLUICE_EGRESS : SLUICE_INGRESS;
	const struct packet *p = &c->packet;
	struct decision *d = &c->decision;
	const struct decision denied = *d;
	struct question q = {
		.remote = remote_of(p, direction),
		.direction = opener,
		.port = p->sport,
		.protocol = p->protocol,
		.prefixlen = p->prefixlen,
	};

	if (!p->plain || likely(!c->endpoint->adopt_until) || p->protocol != IPPROTO_TCP ||
	    p->tcp_flags & (TCP_SYN | TCP_RST) || (__s32)(c->endpoint->adopt_until - c->now) <= 0)
		return false;
	d->origin_state = 0;
	decide_by_policy(c, &q, d, v6);
	if (!reason_allows(d->reason)) {
		*d = denied;
		return false;
	}
	d->jump = SLUICE_JUMP_NONE;
	make_flow(c, key, opener, direction, v6);
	set_reason(c, SLUICE_REASON_ADOPTED);
	return true;
}

static __always_inline void open_flow(struct context *c, struct sluice_conntrack *flow,
				      const union conntrack_key *key, __u32 direction, bool v6)
{
	c->decision.new_flow = true;
	if (c->decision.origin_state & SLUICE_CT_MASQUERADED)
		store_origin(key, v6);
	/* Resolvers of the cluster may be asked for every name if no rule says otherwise. */
	if (direction == SLUICE_EGRESS && unlikely(c->packet.dport == bpf_htons(DNS_PORT)) &&
	    !c->decision.dns && is_resolver(&c->packet, v6))
		c->decision.dns = SLUICE_DNS_ANY;
	if (flow)
		start_flow(c, flow, direction, direction, v6);
	else
		make_flow(c, key, direction, direction, v6);
}

static __always_inline void judge_flow(struct context *c, __u32 direction, bool v6)
{
	const struct packet *p = &c->packet;
	const bool cacheable = is_cacheable(p);
	struct cache_place place = {};
	union conntrack_key key;
	struct sluice_conntrack *flow;

	if (likely(cacheable)) {
		find_place(c, &place, direction, v6);
		if (likely(is_recently_allowed(c, &place, direction, v6)))
			return;
	}
	flow = find_flow(c, &key, p, direction, v6);
	if (likely(flow)) {
		if (likely(!is_expired(c, flow, p->protocol) && !starts_over(flow, p, direction))) {
			if (judge_known_flow(c, flow, &key, &place, direction, v6) && cacheable &&
			    likely(!flow->dns))
				cache_flow(c, &place, flow, direction, v6);
			return;
		}
	} else if (cacheable && restore_flow(c, &place, &key, direction, v6)) {
		return;
	}
	ask_policy(c, direction, v6);
	if (c->decision.ask_names)
		return;
	if (!reason_allows(c->decision.reason)) {
		adopt_flow(c, &key, direction, v6);
		return;
	}
	/*
	 * An unsolicited reply creates no flow: its flow began before the endpoint was managed, and
	 * creating one would reverse its direction.
	 */
	if (is_unasked_reply(p, v6))
		return;
	open_flow(c, flow, &key, direction, v6);
}

static __always_inline void judge_parsed(struct context *c, __u32 direction, bool v6)
{
	const struct packet *p = &c->packet;
	bool own = direction == SLUICE_EGRESS || is_own(c, &p->destination, v6);

	/*
	 * Packets of a pod to its own address do not leave the pod, so on the wire they are for
	 * another receiver.
	 */
	if (direction == SLUICE_INGRESS && unlikely(is_own(c, &p->source, v6)) &&
	    is_from_itself(c, v6)) {
		c->decision.rule = SLUICE_RULE_SELF;
		set_reason(c, SLUICE_REASON_SELF);
		return;
	}
	if (unlikely(p->fragment == FRAGMENT_LATER) && !recall_fragment(c, direction, v6))
		judge_lone_fragment(c, direction, v6);
	else if (!own || (is_icmp(p->protocol, v6) && !is_echo(p->dport, v6)))
		judge_stateless(c, direction, own, v6);
	else
		judge_flow(c, direction, v6);
	if (unlikely(p->fragment == FRAGMENT_FIRST) && reason_allows(c->decision.reason))
		remember_fragment(c, direction, v6);
	settle_dns(c, direction, v6);
}

static __always_inline void judge_ip(struct context *c, __u32 direction, bool v6)
{
	__u32 reason = parse_carefully(c, &c->packet, ETH_HLEN, v6, false);
	__u32 link_reason = SLUICE_GO_ON;

	if (v6 && reason == SLUICE_GO_ON)
		link_reason = judge_link_message(c, direction);
	if (link_reason != SLUICE_GO_ON) {
		set_reason(c, link_reason);
		return;
	}
	if (direction == SLUICE_EGRESS && !c->packet.has_addresses)
		set_reason(c, reason);
	else if (direction == SLUICE_EGRESS && !is_own(c, &c->packet.source, v6))
		set_reason(c, SLUICE_REASON_SOURCE_ADDRESS);
	else if (reason != SLUICE_GO_ON)
		set_unparsed(c, direction, reason);
	else
		judge_parsed(c, direction, v6);
}

/* False: not a common packet. */
static __always_inline bool judge_common_ip(struct context *c, __u32 direction, bool v6)
{
	if (unlikely(!parse_in_place(c, v6)))
		return false;
	if (direction == SLUICE_EGRESS && unlikely(!is_own(c, &c->packet.source, v6)))
		set_reason(c, SLUICE_REASON_SOURCE_ADDRESS);
	else
		judge_parsed(c, direction, v6);
	return true;
}

/* False: not a managed endpoint's packet. */
static __always_inline bool find_endpoint(struct context *c)
{
	__u32 zero = 0;
	__u32 index = c->ifindex;

	c->state = bpf_map_lookup_elem(&state, &zero);
	if (!c->state)
		return false;
	c->epoch = READ_ONCE(c->state->epoch);
	c->endpoint = find_record(&index);
	if (!c->endpoint)
		return false;

	const struct sluice_endpoint_policy *generation = &c->endpoint->gen[c->epoch & 1];

	c->policy_id = READ_ONCE(generation->policy_id);
	c->flags = READ_ONCE(generation->flags);
	return c->flags & SLUICE_EP_MANAGED;
}

/* The receiver uses the Ethernet header, so skb->protocol is ignored. */
static __always_inline __be16 read_ethertype(const struct context *c)
{
	const void *data = (const void *)(long)c->skb->data;
	const void *data_end = (const void *)(long)c->skb->data_end;
	__be16 type = 0;

	if (likely(data + ETH_HLEN <= data_end))
		return ((const struct ethhdr *)data)->h_proto;
	bpf_skb_load_bytes(c->skb, offsetof(struct ethhdr, h_proto), &type, sizeof(type));
	return type;
}

/*
 * Judges frames that are neither IP nor ARP, or are tagged. The node's stack removes tags, so the
 * content of such a frame would be received without a verdict: a pod may not send it unless an
 * administrator has permitted it.
 */
static __always_inline void judge_no_ip(struct context *c, __u32 direction)
{
	if (direction == SLUICE_EGRESS && !(c->flags & SLUICE_EP_ANY_ETHERTYPE))
		set_reason(c, SLUICE_REASON_ETHERTYPE);
	else
		set_unparsed(c, direction, SLUICE_REASON_ETHERTYPE);
}

/* Slot of the program for a packet that is not a common one. */
static __always_inline __u32 program_for(const struct context *c, __u32 direction)
{
	bool v6 = !c->skb->vlan_present && c->ethertype == bpf_htons(ETH_P_IPV6);

	if (v6 && direction == SLUICE_EGRESS)
		return SLUICE_JUMP_LINK_FROM_POD;
	return SLUICE_JUMP_UNCOMMON(direction, v6);
}

/* Slot of the program that looks names up, or SLUICE_JUMP_NONE if they do not matter. */
static __always_inline __u32 program_for_names(const struct context *c, __u32 direction)
{
	if (likely(!c->decision.ask_names))
		return SLUICE_JUMP_NONE;
	return SLUICE_JUMP_NAMES(direction, c->ethertype == bpf_htons(ETH_P_IPV6));
}

/*
 * Judges nearly every packet. Separate programs judge the others, which keeps the code small for
 * the kernel's verifier and a CPU's cache. Returns the slot of the program that must judge this
 * packet, or SLUICE_JUMP_NONE.
 */
static __always_inline __u32 judge_common(struct context *c, __u32 direction)
{
	bool judged = false;

	if (!find_endpoint(c)) {
		set_reason(c, SLUICE_REASON_NOT_AN_ENDPOINT);
		return SLUICE_JUMP_NONE;
	}
	c->now = bpf_jiffies64();
	c->ethertype = read_ethertype(c);
	if (likely(!c->skb->vlan_present)) {
		if (c->ethertype == bpf_htons(ETH_P_IP))
			judged = judge_common_ip(c, direction, false);
		else if (c->ethertype == bpf_htons(ETH_P_IPV6))
			judged = judge_common_ip(c, direction, true);
	}
	return judged ? program_for_names(c, direction) : program_for(c, direction);
}

/*
 * Judges messages of the link. For all other packets, returns the slot of the program with
 * judge_uncommon().
 */
static __always_inline __u32 judge_link(struct context *c)
{
	__u32 reason;

	if (!find_endpoint(c)) {
		set_reason(c, SLUICE_REASON_NOT_AN_ENDPOINT);
		return SLUICE_JUMP_NONE;
	}
	reason = judge_link_message_of_pod(c);
	if (reason == SLUICE_GO_ON)
		return SLUICE_JUMP_UNCOMMON(SLUICE_EGRESS, true);
	set_reason(c, reason);
	return SLUICE_JUMP_NONE;
}

/*
 * Judges packets from the pod, and replies, that policy denies unless a name that the endpoint has
 * learned allows them. Another program has found this out a moment ago.
 */
static __always_inline void judge_by_name(struct context *c, __u32 direction, bool v6)
{
	const struct packet *p = &c->packet;
	struct cache_place place = {};
	union conntrack_key key;
	struct sluice_conntrack *flow;
	__u32 reason;

	if (!find_endpoint(c)) {
		set_reason(c, SLUICE_REASON_NOT_AN_ENDPOINT);
		return;
	}
	c->knows_names = true;
	c->now = bpf_jiffies64();
	c->ethertype = read_ethertype(c);
	reason = parse_carefully(c, &c->packet, ETH_HLEN, v6, false);
	if (reason != SLUICE_GO_ON) {
		set_unparsed(c, direction, reason);
		return;
	}
	if (p->fragment == FRAGMENT_LATER && !recall_fragment(c, direction, v6)) {
		judge_lone_fragment(c, direction, v6);
		settle_dns(c, direction, v6);
		return;
	}
	flow = find_flow(c, &key, p, direction, v6);
	if (flow && !is_expired(c, flow, p->protocol) && !starts_over(flow, p, direction)) {
		judge_known_flow(c, flow, &key, &place, direction, v6);
	} else if (direction == SLUICE_EGRESS) {
		ask_policy(c, direction, v6);
		if (reason_allows(c->decision.reason) && !is_unasked_reply(p, v6))
			open_flow(c, flow, &key, direction, v6);
	} else {
		set_reason(c, SLUICE_REASON_REPLY_OF_DENIED);
	}
	if (p->fragment == FRAGMENT_FIRST && reason_allows(c->decision.reason))
		remember_fragment(c, direction, v6);
	settle_dns(c, direction, v6);
}

/*
 * `v6` is the family that program_for() chose. Returns the slot of the program that must judge the
 * packet, or SLUICE_JUMP_NONE.
 */
static __always_inline __u32 judge_uncommon(struct context *c, __u32 direction, bool v6)
{
	if (!find_endpoint(c)) {
		set_reason(c, SLUICE_REASON_NOT_AN_ENDPOINT);
		return SLUICE_JUMP_NONE;
	}
	c->now = bpf_jiffies64();
	c->ethertype = read_ethertype(c);
	if (v6)
		judge_ip(c, direction, true);
	else if (c->skb->vlan_present)
		judge_no_ip(c, direction);
	else if (c->ethertype == bpf_htons(ETH_P_IP))
		judge_ip(c, direction, false);
	else if (c->ethertype == bpf_htons(ETH_P_ARP))
		set_reason(c, judge_arp(c, direction));
	else
		judge_no_ip(c, direction);
	return program_for_names(c, direction);
}
