/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "dns.bpf.h"
#include "parse.bpf.h"

/*
 * Where DNS messages begin and end on a TCP connection, in each direction.
 *
 * Over TCP, messages are read only where the sender begins one. Otherwise, whoever owns a name
 * could answer with text that looks like a message about other names, and have it begin where a
 * segment does; and a pod could hide a question that it may not ask in another one. Beginnings are
 * known from the handshake on.
 */

/*
 * An element of `questions` with `stream` set and id 0 is about one direction of a TCP flow. Its
 * value has, as sequence numbers, where the message or messages began that were read last, and what
 * is expected next, in place of the hash.
 */
#define STREAM_BEGIN(element) ((element)->name.hash[0])
#define STREAM_NEXT(element) ((element)->name.hash[1])
/* Of the server: 1 from the first part of a message on; the agent follows the rest. */
#define STREAM_OF_AGENT(element) ((element)->asked)
/*
 * Of the pod: if the segment that was read last is the length of a question alone, or the question
 * that belongs to it, then that length and one of these flags; otherwise 0.
 */
#define STREAM_PARTED(element) ((element)->asked)
#define STREAM_PARTED_LENGTH 0x10000
#define STREAM_PARTED_QUESTION 0x20000

/* What a segment has. */
enum dns_stream {
	STREAM_NOTHING,	  /* no payload */
	STREAM_UNKNOWN,	  /* what the segment begins with is not known */
	STREAM_WHOLE,	  /* whole messages */
	STREAM_BEGINS,	  /* from the server: a message begins, and some do not end here */
	STREAM_CONTINUES, /* from the server: what the agent follows */
	STREAM_LENGTH,	  /* from the pod: the length of a question alone */
	STREAM_QUESTION,  /* from the pod: a question whose length has come before it */
};

struct dns_segment {
	__be32 sequence;
	__be32 acknowledged;
	__u8 offset;
	__u8 flags;
};
_Static_assert(sizeof(struct dns_segment) == 12, "the fields of struct tcp_header, in its order");

static __always_inline bool load_segment(struct __sk_buff *skb, const struct dns_place *place,
					 struct dns_segment *segment)
{
	return !bpf_skb_load_bytes(skb, place->l4 + offsetof(struct tcp_header, sequence), segment,
				   sizeof(*segment));
}

/* The length that stands at `at` of the packet; 0 if there is none. */
static __always_inline __u32 read_length(struct __sk_buff *skb, const struct dns_place *place,
					 __u32 at)
{
	__be16 length;

	if (at + sizeof(length) > place->end ||
	    bpf_skb_load_bytes(skb, at, &length, sizeof(length)))
		return 0;
	return bpf_ntohs(length);
}

/* Where the messages end of which the first begins at `at`: at place->end if all are whole. */
static __always_inline __u32 find_end(struct __sk_buff *skb, const struct dns_place *place,
				      __u32 at)
{
	for (__u32 i = 0; i < DNS_SEGMENT_MESSAGES; i++) {
		const __u32 length = read_length(skb, place, at);

		if (!length)
			break;
		at += sizeof(__be16) + length;
	}
	return at;
}

/* Notes that messages begin at this sequence number. */
static __always_inline void begin_stream(struct sluice_dns_reader *r, __u8 stream, __u32 sequence)
{
	r->question.stream = stream;
	STREAM_BEGIN(&r->noted) = sequence;
	STREAM_NEXT(&r->noted) = sequence;
	r->noted.asked = 0;
	dns_note();
	r->question.stream = SLUICE_STREAM_NONE;
}

/* Forgets the direction of the flow. */
static __always_inline void end_stream(struct sluice_dns_reader *r, __u8 stream)
{
	r->question.id = 0;
	r->question.stream = stream;
	dns_forget();
	r->question.stream = SLUICE_STREAM_NONE;
}

static __always_inline struct sluice_question *find_stream(const struct sluice_dns_reader *r,
							   __u8 stream)
{
	struct sluice_question_key key = r->question;

	key.stream = stream;
	return bpf_map_lookup_elem(&questions, &key);
}

/* A segment without payload: if the stream ends there, no segment before the end is missing. */
static __always_inline void end_if_over(struct sluice_dns_reader *r,
					const struct dns_segment *segment,
					const struct sluice_question *known, __u8 stream)
{
	if (known && segment->flags & TCP_FIN &&
	    bpf_ntohl(segment->sequence) == (__u32)STREAM_NEXT(known))
		end_stream(r, stream);
}

/*
 * Follows the server's messages. A segment may be sent again. `at`: where the payload begins.
 * r->question is the flow's key. The server's SYN says where the messages of both directions begin:
 * a pod could send one in the middle of a connection.
 */
static __always_inline enum dns_stream follow_answers(struct __sk_buff *skb,
						      const struct dns_place *place,
						      struct sluice_dns_reader *r, __u32 at)
{
	const __u8 stream = SLUICE_STREAM_ANSWERS;
	struct sluice_question *known;
	struct dns_segment segment;
	__u32 sequence;

	if (!load_segment(skb, place, &segment))
		return STREAM_UNKNOWN;
	sequence = bpf_ntohl(segment.sequence);
	if (segment.flags & TCP_SYN) {
		begin_stream(r, stream, sequence + 1);
		begin_stream(r, SLUICE_STREAM_QUESTIONS, bpf_ntohl(segment.acknowledged));
		return STREAM_NOTHING;
	}
	known = find_stream(r, stream);
	if (at >= place->end) {
		end_if_over(r, &segment, known, stream);
		return STREAM_NOTHING;
	}
	if (!known)
		return STREAM_UNKNOWN;
	if (STREAM_OF_AGENT(known))
		return STREAM_CONTINUES;
	if (sequence != (__u32)STREAM_NEXT(known))
		return sequence == (__u32)STREAM_BEGIN(known) ? STREAM_WHOLE : STREAM_UNKNOWN;
	if (find_end(skb, place, at) != place->end) {
		STREAM_OF_AGENT(known) = 1;
		return STREAM_BEGINS;
	}
	STREAM_BEGIN(known) = sequence;
	STREAM_NEXT(known) = (__u32)(sequence + place->end - at);
	return STREAM_WHOLE;
}

/* The next segment of a pod: `length` is what it begins with as a length, `size` its payload. */
static __always_inline enum dns_stream take_segment(struct sluice_question *known, __u32 sequence,
						    __u32 size, __u32 length, bool whole)
{
	if (STREAM_PARTED(known) & STREAM_PARTED_LENGTH) {
		if (size != (STREAM_PARTED(known) & 0xffff))
			return STREAM_UNKNOWN;
		STREAM_PARTED(known) = size | STREAM_PARTED_QUESTION;
		STREAM_NEXT(known) = (__u32)(sequence + size);
		return STREAM_QUESTION;
	}
	if (size == sizeof(__be16) && length)
		STREAM_PARTED(known) = length | STREAM_PARTED_LENGTH;
	else if (whole)
		STREAM_PARTED(known) = 0;
	else
		return STREAM_UNKNOWN;
	STREAM_BEGIN(known) = sequence;
	STREAM_NEXT(known) = (__u32)(sequence + size);
	return size == sizeof(__be16) ? STREAM_LENGTH : STREAM_WHOLE;
}

/*
 * A segment that a pod sends again. The server may have received none, some or all of what was sent
 * before, so messages must begin and end where they did.
 */
static __always_inline enum dns_stream take_again(struct sluice_question *known, __u32 offset,
						  __u32 size, __u32 length)
{
	const __u32 parted = STREAM_PARTED(known);
	const __u32 question = parted & 0xffff;
	const __u32 both = (__u32)(STREAM_NEXT(known) - STREAM_BEGIN(known));

	if (!parted)
		return !offset && size == both ? STREAM_WHOLE : STREAM_UNKNOWN;
	if (offset == sizeof(__be16) && parted & STREAM_PARTED_QUESTION && size == question)
		return STREAM_QUESTION;
	if (offset || length != question)
		return STREAM_UNKNOWN;
	if (size == sizeof(__be16))
		return STREAM_LENGTH;
	if (size != sizeof(__be16) + question)
		return STREAM_UNKNOWN;
	STREAM_PARTED(known) = question | STREAM_PARTED_QUESTION;
	STREAM_NEXT(known) = (__u32)(STREAM_BEGIN(known) + size);
	return STREAM_WHOLE;
}

/* Follows the pod's messages; like follow_answers(). */
static __always_inline enum dns_stream follow_questions(struct __sk_buff *skb,
							const struct dns_place *place,
							struct sluice_dns_reader *r, __u32 at)
{
	const __u8 stream = SLUICE_STREAM_QUESTIONS;
	const __u32 size = place->end - at;
	struct sluice_question *known;
	struct dns_segment segment;
	__u32 sequence;
	__u32 length;

	if (!load_segment(skb, place, &segment))
		return STREAM_UNKNOWN;
	sequence = bpf_ntohl(segment.sequence);
	known = find_stream(r, stream);
	if (at >= place->end) {
		end_if_over(r, &segment, known, stream);
		return STREAM_NOTHING;
	}
	if (!known || segment.flags & TCP_SYN)
		return STREAM_UNKNOWN;
	length = read_length(skb, place, at);
	if (sequence == (__u32)STREAM_NEXT(known))
		return take_segment(known, sequence, size, length,
				    find_end(skb, place, at) == place->end);
	return take_again(known, sequence - (__u32)STREAM_BEGIN(known), size, length);
}
