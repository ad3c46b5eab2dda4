/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "config.bpf.h"
#include "context.bpf.h"
#include "maps.bpf.h"
#include "parse.bpf.h"
#include "policy.bpf.h"
#include "tcp.bpf.h"

/*
 * An entry means: the flow, opened in that direction, was allowed under that
 * epoch. Entries are changed through the pointer that a lookup gives. Counters
 * and state bits are written without atomics: a flow's packets of one direction
 * come through one queue, and a bit lost to a race is set by the next packet.
 */

union conntrack_key {
	struct sluice_conntrack4_key v4;
	struct sluice_conntrack6_key v6;
};

static __always_inline const union address *remote_of(const struct packet *p, __u32 direction)
{
	return direction == SLUICE_EGRESS ? &p->destination : &p->source;
}

/* ICMP: only echo has flows; the remote port records which end sent the request. */
static __always_inline __be16 echo_asker(const struct packet *p, __u32 direction, bool v6)
{
	bool request = icmp_type(p->dport) == echo_request_type(v6);

	return (direction == SLUICE_EGRESS) == request ? 0 : bpf_htons(1);
}

/* Fills `key` as well. `remote`: one word of IPv4, four of IPv6. */
static __always_inline struct sluice_conntrack *lookup_flow(union conntrack_key *key, __u32 ifindex,
							    const __be32 *remote, __be16 local_port,
							    __be16 remote_port, __u8 protocol,
							    bool v6)
{
	if (v6) {
		key->v6.ifindex = ifindex;
		copy_words((__be32 *)key->v6.remote, remote);
		key->v6.local_port = local_port;
		key->v6.remote_port = remote_port;
		*(__u32 *)&key->v6.protocol = 0;
		key->v6.protocol = protocol;
		return bpf_map_lookup_elem(&conntrack6, &key->v6);
	}
	key->v4.ifindex = ifindex;
	key->v4.remote = remote[0];
	key->v4.local_port = local_port;
	key->v4.remote_port = remote_port;
	*(__u32 *)&key->v4.protocol = 0;
	key->v4.protocol = protocol;
	return bpf_map_lookup_elem(&conntrack4, &key->v4);
}

static __always_inline struct sluice_conntrack *find_flow(const struct context *c,
							  union conntrack_key *key,
							  const struct packet *p, __u32 direction,
							  bool v6)
{
	__be16 local_port = direction == SLUICE_EGRESS ? p->sport : p->dport;
	__be16 remote_port = direction == SLUICE_EGRESS ? p->dport : p->sport;

	if (is_icmp(p->protocol, v6)) {
		local_port = p->sport;
		remote_port = echo_asker(p, direction, v6);
	}
	return lookup_flow(key, c->ifindex, remote_of(p, direction)->v6, local_port, remote_port,
			   p->protocol, v6);
}

static __always_inline bool is_closed(const struct sluice_conntrack *flow)
{
	const __u8 both = SLUICE_CT_FIN_INGRESS | SLUICE_CT_FIN_EGRESS;

	return flow->state & SLUICE_CT_RESET || (flow->state & both) == both;
}

static __always_inline __u32 timeout_of(const struct sluice_conntrack *flow, __u8 protocol)
{
	bool replied = flow->state & SLUICE_CT_REPLIED;

	if (protocol == IPPROTO_TCP) {
		if (is_closed(flow))
			return sluice_timeout_tcp_closed;
		return replied ? sluice_timeout_tcp : sluice_timeout_tcp_opening;
	}
	if (protocol == IPPROTO_UDP)
		return replied ? sluice_timeout_udp : sluice_timeout_udp_unreplied;
	if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6)
		return sluice_timeout_icmp;
	return sluice_timeout_other;
}

static __always_inline bool is_expired(const struct context *c, const struct sluice_conntrack *flow,
				       __u8 protocol)
{
	__u32 shortest = sluice_timeout_shortest * sluice_hz;
	__u32 age = c->now - flow->last_seen;

	/* Another CPU may have updated the flow just after this one read the clock. */
	if (likely(age + shortest < 2 * shortest))
		return false;
	return age > timeout_of(flow, protocol) * sluice_hz;
}

static __always_inline bool is_opening_syn(const struct packet *p)
{
	const __u8 mask = TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN;

	return p->protocol == IPPROTO_TCP && (p->tcp_flags & mask) == TCP_SYN;
}

/* Accounts for a packet of the flow. Writes only values that differ from the stored ones. */
static __always_inline void touch_flow(const struct context *c, struct sluice_conntrack *flow,
				       __u32 direction, bool v6)
{
	__u8 bits = follow_segment(c, flow, direction, v6);

	if (flow->opened_by != direction)
		bits |= SLUICE_CT_REPLIED;
	if (unlikely(bits & ~flow->state))
		flow->state |= bits;
	if (flow->last_seen != c->now)
		flow->last_seen = c->now;
	flow->packets[direction] += 1;
	flow->bytes[direction] += c->length;
}

/* Fills the flow of a packet that goes in `direction`. */
static __always_inline void start_flow(const struct context *c, struct sluice_conntrack *flow,
				       __u32 opened_by, __u32 direction, bool v6)
{
	struct segment s;

	__builtin_memset(flow, 0, sizeof(*flow));
	flow->epoch = c->epoch;
	flow->last_seen = c->now;
	flow->rule = c->decision.rule;
	flow->opened_by = opened_by;
	flow->state = c->decision.origin_state;
	if (opened_by != direction)
		flow->state |= SLUICE_CT_REPLIED;
	flow->reason = c->decision.reason;
	flow->dns = c->decision.dns;
	flow->name = c->decision.name;
	if (read_segment(c, &s, v6))
		expect_after(flow, &s, direction, c->length);
	flow->packets[direction] = 1;
	flow->bytes[direction] = c->length;
}

static __always_inline void store_flow(const union conntrack_key *key,
				       const struct sluice_conntrack *flow, bool v6)
{
	if (v6)
		bpf_map_update_elem(&conntrack6, &key->v6, flow, BPF_ANY);
	else
		bpf_map_update_elem(&conntrack4, &key->v4, flow, BPF_ANY);
}

static __always_inline __u32 reason_of_known(__u8 opened_by, __u32 direction)
{
	return opened_by == direction ? SLUICE_REASON_ESTABLISHED : SLUICE_REASON_REPLY;
}

static __always_inline void store_origin(const union conntrack_key *key, bool v6)
{
	const struct sluice_scratch *s = find_scratch();

	if (!s)
		return;
	if (v6)
		bpf_map_update_elem(&origins6, &key->v6, &s->origin, BPF_ANY);
	else
		bpf_map_update_elem(&origins4, &key->v4, &s->origin, BPF_ANY);
}

/*
 * Without memory for the entry, the packet's verdict still holds, and the next packets are judged
 * again.
 */
static __always_inline void make_flow(const struct context *c, const union conntrack_key *key,
				      __u32 opened_by, __u32 direction, bool v6)
{
	struct sluice_conntrack flow;

	start_flow(c, &flow, opened_by, direction, v6);
	store_flow(key, &flow, v6);
}
