/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "dns.bpf.h"
#include "endpoints.bpf.h"
#include "maps.bpf.h"

/* Packets that wait for the agent: the way to it, and the way on. */

/* Bytes of a frame: more does not fit into the page in which the agent sends it (test_run.c). */
#define DNS_HELD_MAX 3400
/* The same of a TCP segment, which the agent can cut. */
#define DNS_HELD_SEGMENT_MAX 32000
#define DNS_SEGMENT_LEAST 1220 /* IPv6 (RFC 8200, 5) has room for that much payload everywhere */

/*
 * True if the agent has taken the packet. Fails if no agent runs, if it cannot keep up, or if it
 * could not send the packet on.
 */
static __always_inline bool hold(struct __sk_buff *skb, __u32 direction, __u8 protocol, __u32 part)
{
	const __u64 size = skb->len;
	const bool cut = skb->gso_segs > 1 || size > DNS_HELD_MAX;
	__u32 index = skb->ifindex;
	struct sluice_endpoint *endpoint = find_record(&index);
	struct sluice_dns_event event = {
		.timestamp_ns = bpf_ktime_get_ns(),
		.ifindex = skb->ifindex,
		.size = size,
		.direction = direction,
		.reason = SLUICE_REASON_DNS_HELD,
		.endpoint = index,
		.part = part,
	};

	if (!endpoint)
		return false;
	if (cut) {
		if (protocol != IPPROTO_TCP || direction != SLUICE_INGRESS ||
		    size > DNS_HELD_SEGMENT_MAX)
			return false;
		event.segment = skb->gso_size ? skb->gso_size : DNS_SEGMENT_LEAST;
		/* The programs could not read the pieces. */
		if (!part)
			event.part = SLUICE_DNS_BEGINS;
	}
	/* The agent may count a message before this program has. */
	if ((__s32)(READ_ONCE(endpoint->held) - READ_ONCE(endpoint->held_done)) >= SLUICE_HELD)
		return false;
	if (bpf_perf_event_output(skb, &dns_held, BPF_F_CURRENT_CPU | size << 32, &event,
				  sizeof(event)))
		return false;
	__sync_fetch_and_add(&endpoint->held, 1);
	return true;
}

/*
 * Sends a packet that was held on its way again: cb[0] is the interface, cb[1] the direction; cb[2]
 * is not 0 if the agent has learned from it. The agent runs this program by BPF_PROG_TEST_RUN,
 * which needs no more rights than it has.
 */
static __always_inline int resend(struct __sk_buff *skb)
{
	__u32 zero = 0;
	const struct sluice_state *s = bpf_map_lookup_elem(&state, &zero);

	if (!s)
		return TC_ACT_SHOT;
	skb->mark = s->dns_mark | !!skb->cb[2];
	return bpf_clone_redirect(skb, skb->cb[0], skb->cb[1] == SLUICE_EGRESS ? BPF_F_INGRESS : 0)
		       ? TC_ACT_SHOT
		       : TC_ACT_OK;
}
