/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "dns.bpf.h"
#include "dns_held.bpf.h"
#include "dns_learn.bpf.h"
#include "dns_stream.bpf.h"

/* Learns from the answers of DNS servers before pods have them. */

/* Tells the agent of a message that goes on to the pod. */
static __always_inline void tell_seen(struct sluice_dns_reader *r, __u32 reason)
{
	struct sluice_dns_event *event = (struct sluice_dns_event *)r->m.head;
	__u32 size = r->m.length;

	event->timestamp_ns = bpf_ktime_get_ns();
	event->ifindex = r->ifindex;
	event->size = size;
	event->direction = SLUICE_INGRESS;
	event->reason = reason;
	event->resolver = r->resolver;
	asm volatile("" : "+r"(size));
	size = ((size - 1) & (DNS_MESSAGE_MAX - 1)) + 1;
	bpf_ringbuf_output(&dns_seen, event, sizeof(*event) + size, BPF_RB_NO_WAKEUP);
}

/* True if the server of the flow r->question is one of the cluster's resolvers. */
static __always_inline bool is_from_resolver(const struct sluice_dns_reader *r)
{
	struct sluice_resolver_key key = {
		.port = r->question.remote_port,
		.protocol = r->question.protocol,
	};

	__builtin_memcpy(key.address, r->question.remote, sizeof(key.address));
	return bpf_map_lookup_elem(&resolvers, &key);
}

/* True if the endpoint has asked this server for the name of the message lately. */
static __always_inline bool is_answer_to_question(struct sluice_dns_reader *r)
{
	const struct sluice_question *asked;

	r->question.id = r->m.id;
	asked = bpf_map_lookup_elem(&questions, &r->question);
	return asked && asked->name.hash[0] == r->m.name[0].hash[0] &&
	       asked->name.hash[1] == r->m.name[0].hash[1] &&
	       r->now - asked->asked <= SLUICE_QUESTION_SECONDS;
}

/*
 * Reads the answer at `at` of the packet, which moves behind it. DNS_UNUSUAL: it is no answer to a
 * question of the pod's.
 */
static __always_inline int read_answer(struct __sk_buff *skb, const struct dns_place *place,
				       struct sluice_dns_reader *r, __u32 *at)
{
	int status = load_message(skb, place, &r->m, at);

	if (!status)
		status = dns_open(&r->m);
	if (status)
		return status;
	if (!(r->m.flags & DNS_FLAG_RESPONSE) || !is_answer_to_question(r))
		return DNS_UNUSUAL;
	for (__u32 i = 0; i < DNS_RECORDS_MAX && !status; i++) {
		if (!r->m.records)
			break;
		status = dns_record();
	}
	return status;
}

/* The packet should be held. */
static __always_inline __u32 ask_agent(struct sluice_dns_reader *r, __u32 part)
{
	r->part = part;
	return SLUICE_REASON_DNS_HELD;
}

/* Learns from the answer that has been read. Returns the reason. */
static __always_inline __u32 learn_message(struct sluice_dns_reader *r)
{
	__u32 ifindex = r->ifindex;

	if (bpf_map_lookup_elem(&learned, &ifindex)) {
		if (!match_chain(r))
			return ask_agent(r, SLUICE_DNS_WHOLE);
		for (__u32 i = 0; i < DNS_RECORDS_MAX; i++) {
			if (i >= r->m.addresses)
				break;
			dns_learn(i);
		}
		tell_seen(r, SLUICE_REASON_DNS_LEARNED);
		return SLUICE_REASON_DNS_LEARNED;
	}
	tell_seen(r, SLUICE_REASON_DNS_UNLEARNED);
	return SLUICE_REASON_DNS_UNLEARNED;
}

/*
 * Learns from all messages of the packet. Returns the reason, for several messages that of the last
 * one. DNS_HELD: ask_agent() was called.
 */
static __always_inline __u32 learn_from_packet(struct __sk_buff *skb, const struct dns_place *place,
					       struct sluice_dns_reader *r, bool was_held)
{
	__u32 reason = SLUICE_REASON_DNS_UNLEARNED;
	__u32 at = find_payload(skb, place);

	if (place->fragment != FRAGMENT_NONE)
		return ask_agent(r, SLUICE_DNS_PART);
	if (!at || !identify_flow(skb, place, r, SLUICE_INGRESS))
		return reason;
	r->resolver = is_from_resolver(r);
	if (place->protocol == IPPROTO_TCP && !was_held) {
		switch (follow_answers(skb, place, r, at)) {
		case STREAM_NOTHING:
			return SLUICE_REASON_REPLY;
		case STREAM_UNKNOWN:
			return reason;
		case STREAM_BEGINS:
			return ask_agent(r, SLUICE_DNS_BEGINS);
		case STREAM_CONTINUES:
			return ask_agent(r, SLUICE_DNS_PART);
		default:
			break;
		}
	}
	for (__u32 i = 0; i < DNS_SEGMENT_MESSAGES; i++) {
		const int status = read_answer(skb, place, r, &at);

		if (status == DNS_TOO_LARGE)
			return ask_agent(r, SLUICE_DNS_BEGINS);
		if (!status) {
			reason = learn_message(r);
			if (reason == SLUICE_REASON_DNS_HELD)
				return reason;
			dns_forget();
		}
		/* What is no answer to a question may stand in front of one that is. */
		if (at >= place->end || status == DNS_DAMAGED)
			return reason;
	}
	return reason;
}

/* Nobody learns from the packet. */
static __always_inline void give_up(struct sluice_dns_reader *r)
{
	if (!r->part) {
		tell_seen(r, SLUICE_REASON_DNS_UNLEARNED);
		dns_forget();
		return;
	}
	/* What follows in the stream is of no use either. */
	end_stream(r, SLUICE_STREAM_ANSWERS);
}

/*
 * Learns from an allowed packet to the pod, or has the agent do so. Returns the reason; for
 * SLUICE_REASON_DNS_HELD, the agent has the packet, and this one must not go on.
 */
static __always_inline __u32 learn_from_answer(struct __sk_buff *skb)
{
	const struct dns_place place = load_dns_place(skb);
	struct sluice_dns_reader *r = the_reader();
	__u32 zero = 0;
	const struct sluice_state *s = bpf_map_lookup_elem(&state, &zero);
	__u32 ifindex = skb->ifindex;
	__u32 reason;
	bool was_held;

	if (!r || !s)
		return SLUICE_REASON_DNS_UNLEARNED;
	if (skb->mark == (s->dns_mark | 1)) {
		skb->mark = 0;
		return SLUICE_REASON_REPLY;
	}
	was_held = skb->mark == s->dns_mark;
	if (was_held)
		skb->mark = 0;
	prepare(skb, r, s);
	reason = learn_from_packet(skb, &place, r, was_held);
	if (reason != SLUICE_REASON_DNS_HELD)
		return reason;
	if (!was_held && bpf_map_lookup_elem(&learned, &ifindex) &&
	    hold(skb, SLUICE_INGRESS, place.protocol, r->part))
		return reason;
	give_up(r);
	return SLUICE_REASON_DNS_UNLEARNED;
}
