/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "dns.bpf.h"
#include "parse.bpf.h"

/* Where the messages of a DNS server begin and end on a TCP connection. */

/*
 * An element of `questions` with `stream` set and id 0 is about a TCP flow from a DNS server. Its
 * value has, as sequence numbers, where the segment began that was read last, and where the next
 * message begins, in place of the hash.
 */
#define STREAM_BEGIN(element) ((element)->name.hash[0])
#define STREAM_NEXT(element) ((element)->name.hash[1])
/* 1 from the first part of a message on: the agent follows the rest of the connection. */
#define STREAM_OF_AGENT(element) ((element)->asked)

/* What a segment from the server has. */
enum dns_stream {
	STREAM_NOTHING,	  /* no payload */
	STREAM_UNKNOWN,	  /* what the segment begins with is not known */
	STREAM_WHOLE,	  /* whole messages */
	STREAM_BEGINS,	  /* a message begins, and some message does not end here */
	STREAM_CONTINUES, /* what the agent follows */
};

/*
 * Over TCP, answers are read only where the server begins a message. Otherwise, whoever owns a name
 * could answer with text that looks like a message about other names, and a pod could have it begin
 * where a segment does. Beginnings are known from the handshake on. A segment may be sent again.
 * `at`: where the payload begins. r->question is the flow's key, to which this may add `stream`.
 */
static __always_inline enum dns_stream follow_stream(struct __sk_buff *skb,
						     const struct dns_place *place,
						     struct sluice_dns_reader *r, __u32 at)
{
	struct sluice_question_key key = r->question;
	struct sluice_question *known;
	__be32 in_order;
	__be16 prefix;
	__u32 end = at;
	__u8 flags;

	if (bpf_skb_load_bytes(skb, place->l4 + offsetof(struct tcp_header, sequence), &in_order,
			       sizeof(in_order)) ||
	    bpf_skb_load_bytes(skb, place->l4 + offsetof(struct tcp_header, flags), &flags,
			       sizeof(flags)))
		return STREAM_UNKNOWN;

	const __u32 sequence = bpf_ntohl(in_order);

	key.stream = 1;
	if (flags & TCP_SYN) {
		r->question.stream = 1;
		STREAM_BEGIN(&r->noted) = (__u32)(sequence + 1);
		STREAM_NEXT(&r->noted) = (__u32)(sequence + 1);
		STREAM_OF_AGENT(&r->noted) = 0;
		dns_note();
		return STREAM_NOTHING;
	}
	known = bpf_map_lookup_elem(&questions, &key);
	if (at >= place->end) {
		/* No segment before the end is missing. */
		if (known && flags & TCP_FIN && sequence == STREAM_NEXT(known)) {
			r->question.stream = 1;
			dns_forget();
		}
		return STREAM_NOTHING;
	}
	if (!known)
		return STREAM_UNKNOWN;
	if (STREAM_OF_AGENT(known))
		return STREAM_CONTINUES;
	if (sequence != STREAM_NEXT(known))
		return sequence == STREAM_BEGIN(known) ? STREAM_WHOLE : STREAM_UNKNOWN;
	for (__u32 i = 0; i < DNS_SEGMENT_MESSAGES; i++) {
		if (end + sizeof(prefix) > place->end ||
		    bpf_skb_load_bytes(skb, end, &prefix, sizeof(prefix)))
			break;
		end += sizeof(prefix) + bpf_ntohs(prefix);
	}
	if (end != place->end) {
		STREAM_OF_AGENT(known) = 1;
		return STREAM_BEGINS;
	}
	STREAM_BEGIN(known) = sequence;
	STREAM_NEXT(known) = (__u32)(sequence + end - at);
	return STREAM_WHOLE;
}
