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

/*
 * The entry of a rule for names that comes before an entry that denies: of the name by which the
 * flow has been allowed, whether the address is still learned or not, or of one that the endpoint
 * has learned for the address. NULL if there is none.
 */
static __always_inline const struct sluice_policy_value *find_name_entry(const struct context *c,
									 const struct question *q,
									 struct decision *d,
									 __u8 levels, bool v6)
{
	const struct sluice_policy_value *value;
	const struct sluice_learned *learned;
	struct sluice_policy_key key = {
		.prefixlen = q->prefixlen,
		.policy_id = c->policy_id,
		.cidr_id = q->name,
		.direction = SLUICE_EGRESS,
		.protocol = q->protocol,
		.port = q->port,
	};

	if (q->name) {
		value = bpf_map_lookup_elem(&policy, &key);
		if (value && value->verdict == SLUICE_VERDICT_ALLOW && value->flags & levels) {
			d->name = q->name;
			return value;
		}
	}
	learned = find_learned(c->ifindex, q->remote, v6);
	if (!learned)
		return NULL;

	const __u32 now = monotonic_seconds();

	for (__u32 i = 0; i < SLUICE_NAME_SELECTORS; i++) {
		const struct sluice_learned_slot slot = read_slot(&learned->slot[i]);

		if (!is_live(&slot, now))
			continue;
		key.cidr_id = slot.selector;
		value = bpf_map_lookup_elem(&policy, &key);
		if (value && value->verdict == SLUICE_VERDICT_ALLOW && value->flags & levels) {
			d->name = slot.selector;
			return value;
		}
	}
	return NULL;
}

/*
 * Which names the peer may be asked for. Resolvers of the cluster may be asked for every name if
 * no rule says otherwise.
 */
static __always_inline void find_dns(const struct question *q, struct decision *d, __u8 flags,
				     bool v6)
{
	d->dns = flags;
	if (!flags && unlikely(q->port == bpf_htons(DNS_PORT)) &&
	    is_resolver(q->remote, q->port, q->protocol, v6))
		d->dns = SLUICE_DNS_ANY;
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
	if (!ingress && reason_allows(d->reason))
		find_dns(q, d, value && !d->name ? value->flags : 0, v6);
}
