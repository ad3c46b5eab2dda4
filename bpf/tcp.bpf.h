/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "context.bpf.h"
#include "parse.bpf.h"

/*
 * Sequence numbers of TCP flows. A reset or FIN changes a flow's state only if the flow can have
 * reached its sequence number; the stacks of both ends ignore others as well (RFC 9293, 3.10.7.4;
 * RFC 5961). Only segments that reach conntrack are examined, not those that the flow cache allows.
 */

/* Largest distance of a segment from the expected one; windows are rarely larger. */
#define TCP_PLAUSIBLE_DISTANCE (1u << 22)

/* Shorter frames are padded. */
#define ETHERNET_PADDING_MAX (60 - ETH_HLEN)

struct segment {
	__u32 sequence;
	__u32 end; /* the sequence number after it */
	__u32 acknowledgement;
};

static __always_inline bool read_tcp_header(const struct context *c, struct tcp_header *tcp,
					    __u32 *at, bool v6)
{
	const void *data = (const void *)(long)c->skb->data;
	const void *data_end = (const void *)(long)c->skb->data_end;
	const __u32 plain_at = ETH_HLEN + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));

	if (likely(c->packet.plain)) {
		*at = plain_at;
		if (data + plain_at + sizeof(*tcp) > data_end)
			return false;
		__builtin_memcpy(tcp, data + plain_at, sizeof(*tcp));
		return true;
	}
	*at = c->packet.l4;
	return !bpf_skb_load_bytes(c->skb, c->packet.l4, tcp, sizeof(*tcp));
}

/* False: there is no complete TCP header. */
static __always_inline bool read_segment(const struct context *c, struct segment *s, bool v6)
{
	struct tcp_header tcp;
	__u32 at;

	if (c->packet.protocol != IPPROTO_TCP || !read_tcp_header(c, &tcp, &at, v6))
		return false;

	__u32 start = at + (tcp.offset >> 4) * 4;
	__u32 stop = c->packet.plain ? c->length : c->packet.end;

	s->sequence = bpf_ntohl(tcp.sequence);
	s->acknowledgement = bpf_ntohl(tcp.acknowledgement);
	s->end = s->sequence + !!(tcp.flags & TCP_SYN) + !!(tcp.flags & TCP_FIN);
	if (stop > start)
		s->end += stop - start;
	return true;
}

/* The sequence number that the flow's next segment in that direction should have. */
static __always_inline __u32 expected_sequence(const struct sluice_conntrack *flow, __u32 direction)
{
	return flow->sequence[direction] + (__u32)flow->bytes[direction];
}

static __always_inline bool is_plausible(const struct sluice_conntrack *flow,
					 const struct segment *s, __u32 direction)
{
	return flow->sequence[direction] &&
	       s->sequence - expected_sequence(flow, direction) + TCP_PLAUSIBLE_DISTANCE <
		       2 * TCP_PLAUSIBLE_DISTANCE;
}

/* `length`: that of the packet, which `bytes` will include. */
static __always_inline void expect_after(struct sluice_conntrack *flow, const struct segment *s,
					 __u32 direction, __u32 length)
{
	__u32 sequence = s->end - (__u32)flow->bytes[direction] - length;

	flow->sequence[direction] = sequence ? sequence : 1;
}

/* A reset that refuses the connection acknowledges the SYN (RFC 9293, 3.10.7.3). */
static __always_inline bool is_refusal(const struct sluice_conntrack *flow, const struct segment *s,
				       __u32 direction)
{
	const __u32 opener = direction == SLUICE_INGRESS ? SLUICE_EGRESS : SLUICE_INGRESS;

	return flow->opened_by == opener && !(flow->state & SLUICE_CT_REPLIED) &&
	       flow->sequence[opener] &&
	       expected_sequence(flow, opener) - s->acknowledgement <= ETHERNET_PADDING_MAX;
}

/*
 * Returns the state bits that the segment sets. The flow's counters do not include the segment yet.
 */
static __always_inline __u8 follow_segment(const struct context *c, struct sluice_conntrack *flow,
					   __u32 direction, bool v6)
{
	struct segment s;
	bool known = flow->sequence[direction];

	if (!read_segment(c, &s, v6))
		return 0;
	if (c->packet.tcp_flags & TCP_RST)
		return is_plausible(flow, &s, direction) || is_refusal(flow, &s, direction)
			       ? SLUICE_CT_RESET
			       : 0;
	if (known && !is_plausible(flow, &s, direction))
		return 0;
	expect_after(flow, &s, direction, c->length);
	return known && c->packet.tcp_flags & TCP_FIN ? SLUICE_CT_FIN_INGRESS << direction : 0;
}
