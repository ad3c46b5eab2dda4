/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "config.bpf.h"
#include "conntrack.bpf.h"
#include "context.bpf.h"
#include "maps.bpf.h"
#include "parse.bpf.h"

/*
 * Caches the result of a conntrack lookup for up to a second; see abi.h. It is used only for plain
 * packets in the middle of a flow: no fragments, no TCP flags that begin or end a flow.
 */

/* A flow gets a slot after this many packets. */
#define FLOW_CACHE_MIN_PACKETS 4

/* Counts are added to conntrack before they can overflow here. */
#define FLOW_CACHE_BYTES_MAX (1u << 31)

/* The place in the cache for the packet's flow. */
struct cache_place {
	__u64 tag;
	__u32 number; /* of the first of its two slots */
	__u32 ports;  /* local_port and remote_port as stored in memory */
	__u8 hint;    /* in the hint table for a slot of the flow */
};

static __always_inline bool is_cacheable(const struct packet *p)
{
	return p->plain &&
	       (p->protocol != IPPROTO_TCP || !(p->tcp_flags & (TCP_SYN | TCP_RST | TCP_FIN)));
}

/* The hash is keyed by a secret, so that nobody can target another flow's slot. */
static __always_inline __u64 hash_flow(const struct context *c, const union address *remote,
				       __u32 ports, bool v6)
{
	const __u64 odd = 0x9e3779b97f4a7c15ULL; /* 2^64 / the golden ratio */
	__u64 h = c->state->flow_seed ^ ((__u64)c->packet.protocol << 32 | c->ifindex);

	if (v6) {
		h = (h ^ ((__u64)remote->v6[0] << 32 | remote->v6[1])) * odd;
		h ^= h >> 32;
		h = (h ^ ((__u64)remote->v6[2] << 32 | remote->v6[3])) * odd;
		h ^= h >> 32;
		h = (h ^ ports) * odd;
	} else {
		h *= odd;
		h ^= h >> 32;
		h = (h ^ ((__u64)remote->v4 << 32 | ports)) * odd;
	}
	return h;
}

static __always_inline bool is_slot_of(const struct sluice_flow_slot *slot, const struct context *c,
				       const union address *remote, __u32 ports, bool v6)
{
	const struct sluice_flow_key *f = &slot->flow;
	__u32 differs = f->ifindex ^ c->ifindex;

	differs |= *(const __u32 *)&f->local_port ^ ports;
	differs |= f->protocol ^ c->packet.protocol;
	differs |= f->ip_version ^ (v6 ? 6 : 4);
	differs |= f->remote[0] ^ (v6 ? remote->v6[0] : remote->v4);
	if (v6) {
		differs |= f->remote[1] ^ remote->v6[1];
		differs |= f->remote[2] ^ remote->v6[2];
		differs |= f->remote[3] ^ remote->v6[3];
	}
	return !differs;
}

static __always_inline void find_place(const struct context *c, struct cache_place *place,
				       __u32 direction, bool v6)
{
	const struct packet *p = &c->packet;
	__u32 first = direction == SLUICE_EGRESS ? p->sport : p->dport;
	__u32 second = direction == SLUICE_EGRESS ? p->dport : p->sport;
	__u64 h;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	place->ports = first | second << 16;
#else
	place->ports = first << 16 | second;
#endif
	h = hash_flow(c, remote_of(p, direction), place->ports, v6);
	place->tag = h ^ c->epoch;
	/* The upper bits of a product depend on all bits of its factors. */
	place->number = h >> (64 - SLUICE_FLOW_CACHE_BITS);
	place->hint = h >> (56 - SLUICE_FLOW_CACHE_BITS);
}

/*
 * Returns the slot if it has the flow's key and its tag (with `any_epoch`, the tag of any epoch),
 * otherwise NULL.
 */
static __always_inline struct sluice_flow_slot *slot_if_of(const struct context *c,
							   const struct cache_place *place,
							   __u32 number, __u32 direction,
							   bool any_epoch, bool v6)
{
	const union address *remote = remote_of(&c->packet, direction);
	struct sluice_flow_slot *slot = bpf_map_lookup_elem(&flow_cache, &number);

	if (slot && (any_epoch || slot->tag == place->tag) &&
	    likely(is_slot_of(slot, c, remote, place->ports, v6)))
		return slot;
	return NULL;
}

/*
 * Returns the flow's slot for the packet's epoch, or with `any_epoch` for any epoch; otherwise
 * NULL.
 */
static __always_inline struct sluice_flow_slot *find_slot(const struct context *c,
							  const struct cache_place *place,
							  __u32 direction, bool any_epoch, bool v6)
{
	__u32 number = place->number;
	__u32 element = number / 8;
	const struct sluice_flow_hints *hints = bpf_map_lookup_elem(&flow_hints, &element);
	struct sluice_flow_slot *slot;

	if (!hints)
		return NULL;
	if (hints->hint[number & 7] == place->hint) {
		slot = slot_if_of(c, place, number, direction, any_epoch, v6);
		if (likely(slot))
			return slot;
	}
	number ^= 1;
	if (hints->hint[number & 7] == place->hint)
		return slot_if_of(c, place, number, direction, any_epoch, v6);
	return NULL;
}

static __always_inline void hint_at(__u32 number, __u8 hint)
{
	__u32 element = number / 8;
	struct sluice_flow_hints *hints = bpf_map_lookup_elem(&flow_hints, &element);

	if (hints)
		hints->hint[number & 7] = hint;
}

/* True: the flow is allowed, and the packet accounted for. */
static __always_inline bool is_recently_allowed(struct context *c, const struct cache_place *place,
						__u32 direction, bool v6)
{
	struct sluice_flow_slot *slot = find_slot(c, place, direction, false, v6);

	if (!slot || c->now - slot->since >= sluice_hz)
		return false;
	if (slot->bytes[direction] >= FLOW_CACHE_BYTES_MAX)
		return false;
	/* Conntrack must learn of the first reply, because the flow's timeout is longer then. */
	if (slot->flow.opened_by != direction && !(slot->flow.state & SLUICE_CT_REPLIED))
		return false;
	slot->packets[direction] += 1;
	slot->bytes[direction] += c->length;
	c->decision.reason = reason_of_known(slot->flow.opened_by, direction);
	return true;
}

static __always_inline void add_counted(struct sluice_conntrack *flow,
					const struct sluice_flow_slot *slot)
{
	flow->packets[0] += slot->packets[0];
	flow->packets[1] += slot->packets[1];
	flow->bytes[0] += slot->bytes[0];
	flow->bytes[1] += slot->bytes[1];
}

/*
 * Prepares for a segment that may end the flow: conntrack judges it, and needs the counts of
 * everything that the flow has sent.
 */
static __always_inline void settle_flow(const struct context *c, struct sluice_conntrack *flow,
					struct cache_place *place, __u32 direction, bool v6)
{
	struct sluice_flow_slot *slot;

	find_place(c, place, direction, v6);
	slot = find_slot(c, place, direction, true, v6);
	if (!slot)
		return;
	add_counted(flow, slot);
	slot->packets[0] = 0;
	slot->packets[1] = 0;
	slot->bytes[0] = 0;
	slot->bytes[1] = 0;
}

/* Adds the slot's counts to conntrack before the slot is given to another flow. */
static __always_inline void settle_slot(const struct sluice_flow_slot *slot)
{
	const struct sluice_flow_key *f = &slot->flow;
	struct sluice_conntrack *flow;
	union conntrack_key key;

	if (!(slot->packets[0] | slot->packets[1]))
		return;
	flow = f->ip_version == 6 ? lookup_flow(&key, f->ifindex, f->remote, f->local_port,
						f->remote_port, f->protocol, true)
				  : lookup_flow(&key, f->ifindex, f->remote, f->local_port,
						f->remote_port, f->protocol, false);
	if (flow)
		add_counted(flow, slot);
}

/* A flow without a packet for two seconds loses its claim to the slot. */
static __always_inline bool is_free(const struct context *c, const struct sluice_flow_slot *slot)
{
	return c->now - slot->since >= 2 * sluice_hz || !slot->flow.ip_version;
}

/* Returns one of the two slots if it is free, with the flow's hint set; otherwise NULL. */
static __always_inline struct sluice_flow_slot *free_slot(const struct context *c,
							  const struct cache_place *place)
{
	__u32 number = place->number;
	struct sluice_flow_slot *slot = bpf_map_lookup_elem(&flow_cache, &number);

	if (!slot || !is_free(c, slot)) {
		number ^= 1;
		slot = bpf_map_lookup_elem(&flow_cache, &number);
		if (!slot || !is_free(c, slot))
			return NULL;
	}
	hint_at(number, place->hint);
	return slot;
}

static __always_inline void take_slot(const struct context *c, struct sluice_flow_slot *slot,
				      const struct cache_place *place, __u32 direction, bool v6)
{
	const union address *remote = remote_of(&c->packet, direction);
	struct sluice_flow_key *f = &slot->flow;

	settle_slot(slot);
	WRITE_ONCE(slot->tag, 0);
	f->ifindex = c->ifindex;
	f->remote[0] = v6 ? remote->v6[0] : remote->v4;
	f->remote[1] = v6 ? remote->v6[1] : 0;
	f->remote[2] = v6 ? remote->v6[2] : 0;
	f->remote[3] = v6 ? remote->v6[3] : 0;
	*(__u32 *)&f->local_port = place->ports;
	f->protocol = c->packet.protocol;
	f->ip_version = v6 ? 6 : 4;
}

/* Stores a flow that a conntrack lookup has just allowed. */
static __always_inline void cache_flow(const struct context *c, const struct cache_place *place,
				       struct sluice_conntrack *flow, __u32 direction, bool v6)
{
	struct sluice_flow_slot *slot = find_slot(c, place, direction, true, v6);

	if (slot) {
		add_counted(flow, slot);
	} else {
		if (flow->packets[0] + flow->packets[1] < FLOW_CACHE_MIN_PACKETS || is_closed(flow))
			return;
		slot = free_slot(c, place);
		if (!slot)
			return;
		take_slot(c, slot, place, direction, v6);
	}
	slot->packets[0] = 0;
	slot->packets[1] = 0;
	slot->bytes[0] = 0;
	slot->bytes[1] = 0;
	slot->flow.opened_by = flow->opened_by;
	slot->flow.state = flow->state;
	slot->rule = flow->rule;
	slot->reason = flow->reason;
	slot->since = c->now;
	WRITE_ONCE(slot->tag, place->tag);
}

/*
 * Under a flood of new flows, conntrack may evict an active flow, because it is looked up only once
 * a second. If the cache still has the flow, it is written back to conntrack. True: the packet is
 * allowed and accounted for.
 */
static __always_inline bool restore_flow(struct context *c, const struct cache_place *place,
					 const union conntrack_key *key, __u32 direction, bool v6)
{
	struct sluice_flow_slot *slot = find_slot(c, place, direction, false, v6);

	if (!slot || is_free(c, slot))
		return false;

	struct sluice_conntrack flow = {
		.epoch = c->epoch,
		.last_seen = c->now,
		.rule = slot->rule,
		.opened_by = slot->flow.opened_by,
		.state = slot->flow.state,
		.reason = slot->reason,
	};
	touch_flow(c, &flow, direction, v6);
	cache_flow(c, place, &flow, direction, v6);
	store_flow(key, &flow, v6);
	c->decision.reason = reason_of_known(flow.opened_by, direction);
	return true;
}
