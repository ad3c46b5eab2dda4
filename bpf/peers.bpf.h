/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "context.bpf.h"
#include "maps.bpf.h"

/* Looks up the peer class of an address, in the generation that the packet's epoch selects. */

static __always_inline __u32 prefix_class4(const union address *address, __u32 generation)
{
	struct sluice_prefix4 key = {.prefixlen = 32};

	*(__be32 *)key.addr = address->v4;
	const struct sluice_prefix_value *value = bpf_map_lookup_elem(&prefixes4, &key);
	return value ? value->cidr_id[generation] : SLUICE_CIDR_ANY;
}

static __always_inline __u32 prefix_class6(const union address *address, __u32 generation)
{
	struct sluice_prefix6 key = {.prefixlen = 128};

	copy_words((__be32 *)key.addr, address->v6);
	const struct sluice_prefix_value *value = bpf_map_lookup_elem(&prefixes6, &key);
	return value ? value->cidr_id[generation] : SLUICE_CIDR_ANY;
}

/*
 * The lock of a peer is not taken, because only the slot that no running program uses is ever
 * changed.
 */
static __always_inline __u32 peer_class(const struct context *c, const union address *address,
					bool v6)
{
	__u32 generation = c->epoch & 1;
	/*
	 * This is a copy, because a pointer passed to a helper would keep the whole packet in
	 * memory.
	 */
	union address key = *address;
	const struct sluice_peer *peer =
		v6 ? bpf_map_lookup_elem(&peers6, &key) : bpf_map_lookup_elem(&peers4, &key);

	/*
	 * An exact address hides its enclosing prefixes, also with class 0: CIDRs do not match
	 * pods.
	 */
	if (peer)
		return peer->cidr_id[generation];
	return v6 ? prefix_class6(address, generation) : prefix_class4(address, generation);
}
