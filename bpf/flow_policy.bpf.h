/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "conntrack.bpf.h"
#include "context.bpf.h"
#include "maps.bpf.h"
#include "origin.bpf.h"
#include "policy.bpf.h"

/* Evaluates the current policy for a flow that an earlier policy has allowed. */

static __always_inline const struct sluice_origin *lookup_origin(const union conntrack_key *key,
								 bool v6)
{
	return v6 ? bpf_map_lookup_elem(&origins6, &key->v6)
		  : bpf_map_lookup_elem(&origins4, &key->v4);
}

/* Sets the original source of a masqueraded flow. */
static __always_inline void question_of_masqueraded(struct context *c, struct question *q,
						    const union conntrack_key *key,
						    const struct packet *p, __u32 direction,
						    bool v6)
{
	const struct sluice_origin *origin = lookup_origin(key, v6);

	q->origin = ORIGIN_UNTRACED;
	if (!origin) {
		/* The entry was evicted, but the kernel may still know the sender. */
		if (p == &c->packet && direction == SLUICE_INGRESS)
			judge_by_original_source(c, q, v6);
		return;
	}

	const union address *source = (const union address *)origin->address;

	if (is_own(c, source, v6)) {
		q->origin = ORIGIN_SELF;
		return;
	}
	q->origin = ORIGIN_PEER;
	q->cidr_id = peer_class(c, source, v6);
	q->has_class = true;
}

/* Builds the question to policy about the flow of `p`, which goes in `direction`. */
static __always_inline void question_of_flow(struct context *c, struct question *q,
					     const struct sluice_conntrack *flow,
					     const union conntrack_key *key, const struct packet *p,
					     __u32 direction, bool v6)
{
	__builtin_memset(q, 0, sizeof(*q));
	q->remote = remote_of(p, direction);
	q->direction = flow->opened_by & 1;
	q->name = flow->name;
	q->protocol = p->protocol;
	q->prefixlen = p->prefixlen;
	q->port = q->direction == direction ? p->dport : p->sport;
	if (is_icmp(p->protocol, v6))
		q->port = bpf_htons(echo_request_type(v6) << 8);
	if (flow->state & SLUICE_CT_FROM_NODE)
		q->origin = ORIGIN_NODE;
	else if (flow->state & SLUICE_CT_UNTRACED ||
		 (!p->plain && flow->state & SLUICE_CT_MASQUERADED))
		q->origin = ORIGIN_UNTRACED;
	else if (flow->state & SLUICE_CT_MASQUERADED)
		question_of_masqueraded(c, q, key, p, direction, v6);
}

/*
 * True if the flow is allowed under the packet's epoch; its entry is updated then. Otherwise the
 * entry is unchanged and `d` has the policy's decision.
 */
static __always_inline bool is_flow_allowed(struct context *c, struct sluice_conntrack *flow,
					    const union conntrack_key *key, const struct packet *p,
					    __u32 direction, struct decision *d, bool v6)
{
	struct question q;

	if (likely(flow->epoch == c->epoch))
		return true;
	/*
	 * A flow that is older than enforcement was seeded and has not been judged yet. The number
	 * of a list of names has a meaning only in one policy set.
	 */
	if (c->state->on_policy_change != SLUICE_CHANGE_CONTINUE ||
	    flow->rule == SLUICE_RULE_NONE || flow->dns) {
		question_of_flow(c, &q, flow, key, p, direction, v6);
		decide_by_policy(c, &q, d, v6);
		if (!reason_allows(d->reason))
			return false;
		flow->rule = d->rule;
		flow->reason = d->reason;
		/* A resolver stays one for the flow; see open_flow(). */
		if (flow->dns != SLUICE_DNS_ANY || d->dns)
			flow->dns = d->dns;
		flow->name = d->name;
	}
	/* This write comes last: until then the next packet evaluates policy again. */
	WRITE_ONCE(flow->epoch, c->epoch);
	return true;
}
