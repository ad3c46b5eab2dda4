/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "dns.bpf.h"
#include "names.bpf.h"

/* Writes to `learned` what a message says: its addresses, with the selectors of their names. */

/* Adds the selector to those of the message, if it is not among them and there is room. */
static __always_inline void add_selector(struct sluice_dns_reader *r, __u32 selector)
{
	const __u32 count = DNS_FRESH(r->selectors);

	for (__u32 i = 0; i < SLUICE_NAME_SELECTORS; i++) {
		if (i >= count)
			break;
		if (r->selector[i] == selector)
			return;
	}
	if (count >= SLUICE_NAME_SELECTORS)
		return;
	r->selector[count & (SLUICE_NAME_SELECTORS - 1)] = selector;
	DNS_FRESH(r->selectors) = count + 1;
}

/* Adds the selectors of one name of the chain. 0: the name is unknown. */
__attribute__((noinline)) int dns_match(__u32 index)
{
	struct sluice_dns_reader *r = the_reader();
	const struct sluice_name *name;

	if (!r)
		return 0;
	name = bpf_map_lookup_elem(&names, &r->m.name[index & (DNS_NAMES_MAX - 1)]);
	if (!name)
		return 0;
	for (__u32 i = 0; i < SLUICE_NAME_SELECTORS; i++) {
		const __u32 selector = READ_ONCE(name->selector[i]);

		if (!selector)
			break;
		if (r->resolver || !(selector & SLUICE_CIDR_NAME_RESOLVERS))
			add_selector(r, selector);
	}
	r->upto[index & (DNS_NAMES_MAX - 1)] = r->selectors;
	return 1;
}

/* Finds the selectors of all names of the chain. False: one of these is unknown. */
static __always_inline bool match_chain(struct sluice_dns_reader *r)
{
	r->selectors = 0;
	for (__u32 i = 0; i < DNS_NAMES_MAX; i++) {
		if (i >= r->m.names)
			break;
		if (!dns_match(i))
			return false;
	}
	return true;
}

/*
 * The slot of a selector: the one that it has, else a free or expired one, else that which expires
 * first. Different selectors look at different slots first, so that two CPUs rarely choose the
 * same.
 */
static __always_inline void put_slot(struct sluice_learned *to, __u32 selector, __u32 expires,
				     __u32 now)
{
	__u32 chosen = 0;
	__u32 least = ~0u;

	for (__u32 i = 0; i < SLUICE_NAME_SELECTORS; i++) {
		const __u32 index = (selector + i) & (SLUICE_NAME_SELECTORS - 1);
		const struct sluice_learned_slot slot = read_slot(&to->slot[index]);
		const __u32 left = is_live(&slot, now) ? slot.expires - now + 1 : 0;

		if (slot.selector == selector) {
			chosen = index;
			if (left && (__s32)(slot.expires - expires) > 0)
				expires = slot.expires;
			break;
		}
		if (left < least) {
			least = left;
			chosen = index;
		}
	}

	const union {
		struct sluice_learned_slot slot;
		__u64 word;
	} both = {.slot = {.selector = selector, .expires = expires}};

	WRITE_ONCE(*(__u64 *)&to->slot[chosen & (SLUICE_NAME_SELECTORS - 1)], both.word);
}

/* Puts the first `count` selectors of the message into slots of an address. */
static __always_inline void put_slots(const struct sluice_dns_reader *r, struct sluice_learned *to,
				      __u32 count, __u32 expires)
{
	for (__u32 i = 0; i < SLUICE_NAME_SELECTORS; i++) {
		if (i >= count)
			break;
		put_slot(to, r->selector[i], expires, r->now);
	}
}

/* Stores one address of the message with the selectors of its names. */
__attribute__((noinline)) int dns_learn(__u32 index)
{
	struct sluice_dns_reader *r = the_reader();
	const struct dns_address *address;
	struct sluice_learned *known;
	__be32 key[4] = {};
	void *inner;
	__u32 ifindex;
	__u32 count;
	__u32 ttl;

	if (!r)
		return 0;
	ifindex = r->ifindex;
	inner = bpf_map_lookup_elem(&learned, &ifindex);
	if (!inner)
		return 0;
	address = &r->m.address[index & (DNS_RECORDS_MAX - 1)];
	map_address(key, (const union address *)address->bytes, false);
	if (address->v6)
		copy_words(key, (const __be32 *)address->bytes);
	count = r->upto[(address->names - 1) & (DNS_NAMES_MAX - 1)];
	if (!count)
		return 0;
	ttl = address->ttl < r->ttl_min ? r->ttl_min : address->ttl;
	if (ttl > SLUICE_NAME_TTL_MAX)
		ttl = SLUICE_NAME_TTL_MAX;

	const __u32 expires = r->now + ttl + r->grace;

	known = bpf_map_lookup_elem(inner, key);
	if (!known) {
		__builtin_memset(&r->fresh, 0, sizeof(r->fresh));
		put_slots(r, &r->fresh, count, expires);
		if (!bpf_map_update_elem(inner, key, &r->fresh, BPF_NOEXIST))
			return 1;
		/* Another CPU was faster. */
		known = bpf_map_lookup_elem(inner, key);
		if (!known)
			return 0;
	}
	put_slots(r, known, count, expires);
	return 1;
}
