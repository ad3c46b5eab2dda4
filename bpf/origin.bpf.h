/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "conntrack.bpf.h"
#include "context.bpf.h"
#include "kernel.bpf.h"
#include "maps.bpf.h"
#include "peers.bpf.h"
#include "policy.bpf.h"

/*
 * Determines the sender of a packet to the pod. The source address is not enough: kube-proxy
 * masquerades, and anybody can forge addresses. skb->ingress_ifindex tells where the packet entered
 * the node: 0 = the node's own network stack sent it, the endpoint's own interface = the pod itself
 * did. If a bridge passes packets to the stack for routing, the interface is the bridge.
 */

/* True if the pod has opened the flow that the kernel has tracked as `t`. */
static __always_inline bool is_flow_of_pod(const struct context *c, const struct kernel_tuple *t,
					   bool v6)
{
	union conntrack_key key;
	__be16 remote_port = is_icmp(t->protocol, v6) ? 0 : t->destination_port;
	const struct sluice_conntrack *flow = lookup_flow(
		&key, c->ifindex, t->destination, t->source_port, remote_port, t->protocol, v6);

	return flow && flow->opened_by == SLUICE_EGRESS && !is_expired(c, flow, t->protocol);
}

/*
 * True if a packet to the pod with the pod's own address as source comes from
 * the pod, through a Service: by its interface, or because the kernel says that
 * it belongs to a flow that the pod has opened. The address alone can be forged.
 */
static __always_inline bool is_from_itself(const struct context *c, bool v6)
{
	struct sluice_scratch *s;

	if (c->skb->ingress_ifindex == c->ifindex)
		return true;
	s = find_scratch();
	return s && read_original_tuple(c->skb, &s->tuple) &&
	       s->tuple.protocol == c->packet.protocol &&
	       is_own(c, (const union address *)s->tuple.source, v6) &&
	       is_flow_of_pod(c, &s->tuple, v6);
}

/* Gets the address of the endpoint behind the interface where the packet entered; false: none. */
static __always_inline bool address_of_ingress_endpoint(const struct context *c,
							struct sluice_origin *origin, bool v6)
{
	__be32 *address = (__be32 *)origin->address;
	__u32 slot = c->skb->ingress_ifindex;

	if (slot >= SLUICE_ENDPOINTS_DIRECT)
		return false;

	const struct sluice_endpoint *other = bpf_map_lookup_elem(&endpoints, &slot);

	if (!other || !(other->gen[c->epoch & 1].flags & SLUICE_EP_MANAGED))
		return false;
	if (!v6) {
		address[0] = other->ipv4;
		return other->ipv4;
	}
	copy_words(address, (const __be32 *)other->ipv6);
	return address[0] | address[1] | address[2] | address[3];
}

/*
 * Finds the source before masquerading by the kernel's connection tracking, otherwise by the
 * interface. False: neither knows it, or the packet's source is forged, because it has not been
 * translated.
 */
static __always_inline bool find_original_source(const struct context *c, struct sluice_scratch *s,
						 bool v6)
{
	const struct kernel_tuple *t = &s->tuple;
	const union address *source = (const union address *)t->source;

	if (!read_original_tuple(c->skb, &s->tuple) || t->protocol != c->packet.protocol)
		return address_of_ingress_endpoint(c, &s->origin, v6);
	copy_words((__be32 *)s->origin.address, t->source);
	if (is_own(c, source, v6))
		return is_flow_of_pod(c, t, v6);
	return !same_address(source, &c->packet.source, v6);
}

static __always_inline void judge_by_original_source(struct context *c, struct question *q, bool v6)
{
	struct sluice_scratch *s = find_scratch();
	struct decision *d = &c->decision;

	q->origin = ORIGIN_UNTRACED;
	d->origin_state = SLUICE_CT_UNTRACED;
	/*
	 * The source of uncommon packets is not traced: the programs that judge them are near the
	 * limit of the verifier in old kernels.
	 */
	if (!c->packet.plain || !s || !find_original_source(c, s, v6))
		return;

	const union address *source = (const union address *)s->origin.address;

	if (is_own(c, source, v6)) {
		q->origin = ORIGIN_SELF;
	} else {
		__u32 cidr_id = peer_class(c, source, v6);

		/* The node's own packets are not forwarded. */
		if (cidr_id & SLUICE_CIDR_LOCAL_NODE)
			return;
		q->origin = ORIGIN_PEER;
		q->cidr_id = cidr_id;
		q->has_class = true;
	}
	d->origin_state = SLUICE_CT_MASQUERADED;
}

/*
 * True if the kernel has replaced the packet's source, even by an address of the node that was not
 * reported to us.
 */
static __always_inline bool is_masqueraded(const struct context *c, bool v6)
{
	struct sluice_scratch *s;

	if (!c->packet.plain || !sluice_nfct_offset)
		return false;
	s = find_scratch();
	return s && read_original_tuple(c->skb, &s->tuple) &&
	       s->tuple.protocol == c->packet.protocol &&
	       !same_address((const union address *)s->tuple.source, &c->packet.source, v6);
}

/* Sets the origin for a packet that opens a flow to the pod, or belongs to none. */
static __always_inline void find_origin(struct context *c, struct question *q, bool v6)
{
	struct decision *d = &c->decision;

	if (!c->skb->ingress_ifindex) {
		q->origin = ORIGIN_NODE;
		d->origin_state = SLUICE_CT_FROM_NODE;
		return;
	}
	q->cidr_id = peer_class(c, q->remote, v6);
	q->has_class = true;
	if (unlikely(q->cidr_id & SLUICE_CIDR_LOCAL_NODE || is_own(c, q->remote, v6) ||
		     is_masqueraded(c, v6)))
		judge_by_original_source(c, q, v6);
}
