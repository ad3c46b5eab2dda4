/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "context.bpf.h"
#include "maps.bpf.h"
#include "names.bpf.h"
#include "peers.bpf.h"

/* The kind of sender that opens a flow to the pod; see origin.bpf.h. */
enum origin {
	ORIGIN_PEER = 0, /* the peer with the remote address */
	ORIGIN_NODE,	 /* the network stack of the pod's own node */
	ORIGIN_SELF,	 /* the pod, through a Service */
	/*
	 * An unknown sender behind one of the node's addresses, or a forged source: rules for any
	 * peer apply, and rules that deny the node.
	 */
	ORIGIN_UNTRACED,
};

/* The question to policy: the flow as seen from the direction that opens it. */
struct question {
	const union address *remote;
	__u32 direction;
	__u32 cidr_id; /* class of the opener, if `has_class` */
	__be16 port;
	__u8 protocol;
	__u8 prefixlen;
	__u8 origin; /* enum origin */
	bool has_class;
	__u32 name; /* the selector of names by which the flow has been allowed, or 0 */
};

static __always_inline bool reason_allows(__u32 reason)
{
#define SLUICE_ALLOW 1u
#define SLUICE_DENY 0u
#define SLUICE_X(name, verdict, text) | SLUICE_##verdict << SLUICE_REASON_##name
	const __u32 allowing = 0 SLUICE_REASONS(SLUICE_X);
#undef SLUICE_X
#undef SLUICE_DENY
#undef SLUICE_ALLOW
	_Static_assert(SLUICE_REASON_COUNT <= 32, "one bit per reason");
	return allowing >> (reason & 31) & 1;
}

static __always_inline const struct sluice_policy_value *
find_entry_of_name(const struct context *c, const struct question *q, __u32 name, __u8 levels)
{
	const struct sluice_policy_key key = {
		.prefixlen = q->prefixlen,
		.policy_id = c->policy_id,
		.cidr_id = name,
		.direction = SLUICE_EGRESS,
		.protocol = q->protocol,
		.port = q->port,
	};
	const struct sluice_policy_value *value = bpf_map_lookup_elem(&policy, &key);

	if (value && value->verdict == SLUICE_VERDICT_ALLOW && value->flags & levels)
		return value;
	return NULL;
}

/* A name that the endpoint has learned for the address and that has such an entry; 0: none. */
static __always_inline __u32 find_learned_name(const struct context *c, const struct question *q,
					       __u8 levels, bool v6)
{
	const struct sluice_learned *learned = find_learned(c->ifindex, q->remote, v6);

	if (!learned)
		return 0;

	const __u32 now = monotonic_seconds();

	for (__u32 i = 0; i < SLUICE_NAME_SELECTORS; i++) {
		const struct sluice_learned_slot slot = read_slot(&learned->slot[i]);

		if (is_live(&slot, now) && find_entry_of_name(c, q, slot.selector, levels))
			return slot.selector;
	}
	return 0;
}

/*
 * The entry of a rule for names that comes before an entry that denies; NULL if there is none. A
 * flow that a name has allowed stays allowed by it, whether the address is still learned or not.
 * The entry is looked up once more, so that a verifier has one pointer to follow and not eight.
 */
static __always_inline const struct sluice_policy_value *find_name_entry(const struct context *c,
									 const struct question *q,
									 struct decision *d,
									 __u8 levels, bool v6)
{
	const struct sluice_policy_value *value;
	__u32 name = q->name;

	if (!c->knows_names) {
		d->ask_names = true;
		return NULL;
	}
	value = name ? find_entry_of_name(c, q, name, levels) : NULL;
	if (!value) {
		name = find_learned_name(c, q, levels, v6);
		if (!name)
			return NULL;
		value = find_entry_of_name(c, q, name, levels);
	}
	d->name = name;
	return value;
}

/* Returns the deciding entry, or NULL. Sets the peer's class if it was looked up. */
static __always_inline const struct sluice_policy_value *
find_entry(const struct context *c, const struct question *q, struct decision *d, bool v6)
{
	const struct sluice_policy_value *value = NULL;
	__u32 flags = c->flags >> q->direction;
	struct sluice_policy_key key = {
		.prefixlen = q->prefixlen,
		.policy_id = c->policy_id,
		.direction = q->direction,
		.protocol = q->protocol,
		.port = q->port,
	};

	if (q->has_class)
		d->cidr_id = q->cidr_id;
	else if (flags & SLUICE_EP_CLASS_INGRESS)
		d->cidr_id = peer_class(c, q->remote, v6);
	if (d->cidr_id && flags & SLUICE_EP_CLASS_INGRESS) {
		key.cidr_id = d->cidr_id;
		value = bpf_map_lookup_elem(&policy, &key);
		/*
		 * A rule that allows the node's address does not allow every sender that uses this
		 * address.
		 */
		if (value && q->origin == ORIGIN_UNTRACED && value->verdict == SLUICE_VERDICT_ALLOW)
			value = NULL;
	}
	if (!value && flags & SLUICE_EP_ANY_INGRESS) {
		key.cidr_id = SLUICE_CIDR_ANY;
		value = bpf_map_lookup_elem(&policy, &key);
	}
	return value;
}

static __always_inline void decide_by_policy(const struct context *c, const struct question *q,
					     struct decision *d, bool v6)
{
	bool ingress = q->direction == SLUICE_INGRESS;

	d->cidr_id = SLUICE_CIDR_ANY;
	d->jump = SLUICE_JUMP_NONE;
	d->dns = 0;
	d->name = 0;
	d->ask_names = false;
	if (q->origin == ORIGIN_SELF) {
		d->reason = SLUICE_REASON_SELF;
		d->rule = SLUICE_RULE_SELF;
		return;
	}

	const struct sluice_policy_value *value = find_entry(c, q, d, v6);

	if (value && !ingress && value->verdict != SLUICE_VERDICT_ALLOW && unlikely(value->flags)) {
		const struct sluice_policy_value *by_name =
			find_name_entry(c, q, d, value->flags, v6);

		if (by_name) {
			value = by_name;
			d->cidr_id = d->name;
		}
	}
	if (value) {
		/* Anything except an explicit allow denies. */
		if (value->verdict == SLUICE_VERDICT_ALLOW)
			d->reason = SLUICE_REASON_POLICY_ALLOW;
		else if (!ingress && value->rule == SLUICE_RULE_DEFAULT_DENY_EGRESS)
			d->reason = SLUICE_REASON_DEFAULT_DENY;
		else
			d->reason = SLUICE_REASON_POLICY_DENY;
		d->rule = value->rule;
		d->jump = value->jump;
		if (!ingress && value->verdict == SLUICE_VERDICT_ALLOW && !d->name)
			d->dns = value->flags;
	} else if (!is_isolated(c, q->direction)) {
		d->reason = SLUICE_REASON_DEFAULT_ALLOW;
		d->rule = SLUICE_RULE_DEFAULT_ALLOW;
	} else if (q->origin == ORIGIN_NODE) {
		d->reason = SLUICE_REASON_LOCAL_NODE;
		d->rule = SLUICE_RULE_LOCAL_NODE;
	} else {
		d->reason = SLUICE_REASON_DEFAULT_DENY;
		d->rule = ingress ? SLUICE_RULE_DEFAULT_DENY_INGRESS
				  : SLUICE_RULE_DEFAULT_DENY_EGRESS;
	}
}
