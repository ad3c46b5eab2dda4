/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "config.bpf.h"
#include "context.bpf.h"
#include "maps.bpf.h"
#include "policy.bpf.h"

/*
 * Flow events. The reader is never woken: it reads the ring buffer on a timer (a forced wake-up
 * costs more than a hundred packets).
 */

/* The content of an event that is not in the packet's own bytes. */
struct report {
	bool masqueraded; /* the scratch area has the original source */
	__u32 rule;
	__u32 cidr_id;
	__u32 policy_id;
	__be16 sport;
	__be16 dport;
	__u8 reason;
	__u8 direction;
	__u8 protocol;
	__u8 tcp_flags;
};

/* NULL if there is no budget for an event. */
static __always_inline struct sluice_event_budget *spend_event(const struct sluice_state *state)
{
	__u32 zero = 0;
	__u64 now = bpf_jiffies64();
	struct sluice_event_budget *budget = bpf_map_lookup_elem(&event_budget, &zero);

	if (!budget)
		return NULL;
	if (now - budget->window >= sluice_hz) {
		budget->window = now;
		budget->used = 0;
	}
	if (budget->used >= state->events_per_second) {
		budget->lost += 1;
		return NULL;
	}
	budget->used += 1;
	return budget;
}

/*
 * Copies the addresses of a common packet, whose headers are in the linear part. False: not a
 * common packet.
 */
static __always_inline bool copy_addresses_in_place(struct __sk_buff *skb,
						    struct sluice_flow_event *event)
{
	const void *data = (const void *)(long)skb->data;
	const void *data_end = (const void *)(long)skb->data_end;
	const struct ethhdr *ethernet = data;
	const struct iphdr *ip4 = data + ETH_HLEN;
	const struct ipv6hdr *ip6 = data + ETH_HLEN;

	if ((const void *)(ip4 + 1) > data_end)
		return false;
	event->ethertype = ethernet->h_proto;
	if (ethernet->h_proto == bpf_htons(ETH_P_IP)) {
		event->family = 2; /* AF_INET */
		*(__be32 *)event->saddr = ip4->saddr;
		*(__be32 *)event->daddr = ip4->daddr;
		return true;
	}
	if (ethernet->h_proto != bpf_htons(ETH_P_IPV6) || (const void *)(ip6 + 1) > data_end)
		return false;
	event->family = 10; /* AF_INET6 */
	copy_words((__be32 *)event->saddr, ip6->saddr.in6_u.u6_addr32);
	copy_words((__be32 *)event->daddr, ip6->daddr.in6_u.u6_addr32);
	return true;
}

/* Addresses have a fixed place in every packet; a packet that is too short has none. */
static __always_inline void copy_addresses(struct __sk_buff *skb, struct sluice_flow_event *event)
{
	const __u32 source4 = ETH_HLEN + offsetof(struct iphdr, saddr);
	const __u32 source6 = ETH_HLEN + offsetof(struct ipv6hdr, saddr);
	__be16 type = 0;

	bpf_skb_load_bytes(skb, offsetof(struct ethhdr, h_proto), &type, sizeof(type));
	event->ethertype = type;
	if (type == bpf_htons(ETH_P_IP)) {
		event->family = 2; /* AF_INET */
		bpf_skb_load_bytes(skb, source4, event->saddr, 4);
		bpf_skb_load_bytes(skb, source4 + 4, event->daddr, 4);
	} else if (type == bpf_htons(ETH_P_IPV6)) {
		event->family = 10; /* AF_INET6 */
		bpf_skb_load_bytes(skb, source6, event->saddr, 16);
		bpf_skb_load_bytes(skb, source6 + 16, event->daddr, 16);
	}
}

static __always_inline void emit_event(struct __sk_buff *skb, const struct sluice_state *state,
				       const struct report *r)
{
	struct sluice_event_budget *budget = spend_event(state);

	if (!budget)
		return;
	struct sluice_flow_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		budget->lost += 1;
		return;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->timestamp_ns = bpf_ktime_get_ns();
	event->ifindex = skb->ifindex;
	event->policy_id = r->policy_id;
	event->cidr_id = r->cidr_id;
	event->rule = r->rule;
	event->length = skb->len;
	event->direction = r->direction;
	event->verdict = reason_allows(r->reason) ? SLUICE_VERDICT_ALLOW : SLUICE_VERDICT_DENY;
	event->reason = r->reason;
	event->protocol = r->protocol;
	event->tcp_flags = r->tcp_flags;
	event->sport = r->sport;
	event->dport = r->dport;
	if (r->masqueraded) {
		const struct sluice_scratch *s = find_scratch();

		if (s)
			copy_words((__be32 *)event->origin, (const __be32 *)s->origin.address);
	}
	if (unlikely(!copy_addresses_in_place(skb, event)))
		copy_addresses(skb, event);
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

/*
 * A tail-called program receives the report in skb->cb. REPORTED: an event has already been sent.
 */
#define REPORT_REPORTED 0x80

static __always_inline void store_report(struct __sk_buff *skb, const struct report *r,
					 bool reported)
{
	__u32 direction = r->direction | (reported ? REPORT_REPORTED : 0);

	skb->cb[0] =
		r->reason | direction << 8 | (__u32)r->protocol << 16 | (__u32)r->tcp_flags << 24;
	skb->cb[1] = r->rule;
	skb->cb[2] = r->cidr_id;
	skb->cb[3] = r->policy_id;
	skb->cb[4] = r->sport | (__u32)r->dport << 16;
}

/* True if an event has already been sent. */
static __always_inline bool load_report(struct __sk_buff *skb, struct report *r)
{
	__u32 first = skb->cb[0];
	__u32 ports = skb->cb[4];

	r->masqueraded = false;
	r->reason = first;
	r->direction = first >> 8 & 1;
	r->protocol = first >> 16;
	r->tcp_flags = first >> 24;
	r->rule = skb->cb[1];
	r->cidr_id = skb->cb[2];
	r->policy_id = skb->cb[3];
	r->sport = ports;
	r->dport = ports >> 16;
	return first >> 8 & REPORT_REPORTED;
}
