/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "context.bpf.h"
#include "maps.bpf.h"

/* What endpoints have learned about names, as policy asks for it; dns_learn.bpf.h learns it. */

#define DNS_PORT 53

static __always_inline __u32 monotonic_seconds(void)
{
	return bpf_ktime_get_ns() / 1000000000;
}

static __always_inline void map_address(__be32 *to, const union address *address, bool v6)
{
	if (v6) {
		copy_words(to, address->v6);
		return;
	}
	to[0] = 0;
	to[1] = 0;
	to[2] = bpf_htonl(0xffff);
	to[3] = address->v4;
}

/* The selectors of an address, or NULL if the endpoint has not learned it. */
static __always_inline const struct sluice_learned *
find_learned(__u32 ifindex, const union address *address, bool v6)
{
	void *inner = bpf_map_lookup_elem(&learned, &ifindex);
	__be32 key[4];

	_Static_assert(sizeof(key) == sizeof(struct sluice_learned_key), "key of learned");
	if (!inner)
		return NULL;
	map_address(key, address, v6);
	return bpf_map_lookup_elem(inner, key);
}

/* Both halves at once, as they were written. */
static __always_inline struct sluice_learned_slot read_slot(const struct sluice_learned_slot *slot)
{
	union {
		__u64 word;
		struct sluice_learned_slot slot;
	} both;

	both.word = READ_ONCE(*(const __u64 *)slot);
	return both.slot;
}

static __always_inline bool is_live(const struct sluice_learned_slot *slot, __u32 now)
{
	return slot->selector && (__s32)(slot->expires - now) >= 0;
}

/* True if the packet goes to one of the cluster's resolvers. */
static __always_inline bool is_resolver(const struct packet *p, bool v6)
{
	struct {
		__be32 address[4];
		__be16 port;
		__u8 protocol;
		__u8 pad;
	} key = {.port = p->dport, .protocol = p->protocol};

	_Static_assert(sizeof(key) == sizeof(struct sluice_resolver_key), "key of resolvers");
	map_address(key.address, &p->destination, v6);
	return bpf_map_lookup_elem(&resolvers, &key);
}
