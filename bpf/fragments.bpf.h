/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "context.bpf.h"
#include "maps.bpf.h"
#include "parse.bpf.h"

/*
 * Later fragments have no ports: they are judged with those of the datagram's first fragment, which
 * are stored when the first fragment is allowed. An entry that outlives its datagram allows nothing
 * more, because the receiver cannot reassemble a datagram without an allowed first fragment.
 */

union fragment_key {
	struct sluice_fragment4_key v4;
	struct sluice_fragment6_key v6;
};

static __always_inline void fragment_key(const struct context *c, union fragment_key *key,
					 __u32 direction, bool v6)
{
	const struct packet *p = &c->packet;

	__builtin_memset(key, 0, sizeof(*key));
	if (v6) {
		key->v6.ifindex = c->ifindex;
		copy_words((__be32 *)key->v6.saddr, p->source.v6);
		copy_words((__be32 *)key->v6.daddr, p->destination.v6);
		key->v6.id = p->fragment_id;
		key->v6.protocol = p->fragment_protocol;
		key->v6.direction = direction;
	} else {
		key->v4.ifindex = c->ifindex;
		key->v4.saddr = p->source.v4;
		key->v4.daddr = p->destination.v4;
		key->v4.id = p->fragment_id;
		key->v4.protocol = p->fragment_protocol;
		key->v4.direction = direction;
	}
}

static __always_inline void remember_fragment(const struct context *c, __u32 direction, bool v6)
{
	const struct packet *p = &c->packet;
	union fragment_key key;
	struct sluice_fragment value = {
		.sport = p->sport,
		.dport = p->dport,
		.protocol = p->protocol,
	};

	fragment_key(c, &key, direction, v6);
	if (v6)
		bpf_map_update_elem(&fragments6, &key.v6, &value, BPF_ANY);
	else
		bpf_map_update_elem(&fragments4, &key.v4, &value, BPF_ANY);
}

/* Gives a later fragment the ports of its datagram. False if they are unknown. */
static __always_inline bool recall_fragment(struct context *c, __u32 direction, bool v6)
{
	struct packet *p = &c->packet;
	union fragment_key key;
	const struct sluice_fragment *value;

	fragment_key(c, &key, direction, v6);
	value = v6 ? bpf_map_lookup_elem(&fragments6, &key.v6)
		   : bpf_map_lookup_elem(&fragments4, &key.v4);
	if (!value) {
		/* IPv6: the protocol in this header is not the one that counts after reassembly. */
		p->prefixlen = v6 ? SLUICE_PREFIX_ANY : SLUICE_PREFIX_PROTOCOL;
		return false;
	}
	p->sport = value->sport;
	p->dport = value->dport;
	p->protocol = value->protocol;
	p->prefixlen =
		l4_header_size(p->protocol, v6) ? SLUICE_PREFIX_PORT : SLUICE_PREFIX_PROTOCOL;
	return true;
}
