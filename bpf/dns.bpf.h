/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "context.bpf.h"
#include "dns_place.bpf.h"
#include "endpoints.bpf.h"
#include "maps.bpf.h"
#include "names.bpf.h"
#include "parse.bpf.h"
#include "policy.bpf.h"

/*
 * Reads the DNS messages of pods. A question is noted (dns_question.bpf.h); an answer to it gives
 * the endpoint the addresses of names before the pod has them (dns_answer.bpf.h). Names that no
 * selector has been compared with yet are for the agent: it is given the packet, and sends it on
 * with the mark state.dns_mark (dns_held.bpf.h). Messages that are not whole in one packet, or too
 * large for these programs, are for the agent, too, which puts them together and learns from them.
 * If it does not run, the packet goes on and nothing is learned.
 *
 * This file has what the programs for questions and for answers share: the place of a message in
 * its packet, reading it, and what is noted in `questions`.
 *
 * The functions that are not inline are global ones, because the verifier looks at each of these
 * once. They take nothing but numbers (Linux 5.10), so what they work on is in the map
 * `dns_reader`.
 */

#define DNS_NAME(m, at) ((__u32)dns_name(at))
int dns_name(__u32 at);

#include "dns_message.bpf.h"

#define DNS_SEGMENT_MESSAGES 4 /* of a TCP segment, that are read */

/* What the programs work on, one for each CPU. prepare() sets what is the same for all of a packet.
 */
struct sluice_dns_reader {
	__u32 ifindex;
	__u32 now;     /* seconds */
	__u32 ttl_min; /* seconds */
	__u32 grace;   /* seconds */
	__u32 selectors;
	__u32 selector[SLUICE_NAME_SELECTORS];
	__u32 upto[DNS_NAMES_MAX]; /* how many of the selectors match name[0] to name[i] */
	__u32 resolver;		   /* 1: the server is one of `resolvers` */
	__u32 part;		   /* enum sluice_dns_part: how the packet is to be held */
	struct sluice_question_key question;
	struct sluice_question noted; /* what dns_note() stores */
	struct sluice_learned fresh;
	struct dns_message m;
};
_Static_assert(__builtin_offsetof(struct dns_message, bytes) ==
		       __builtin_offsetof(struct dns_message, head) +
			       sizeof(struct sluice_dns_event),
	       "an event stands in front of its message");
_Static_assert(sizeof(struct sluice_name_key) == sizeof(struct dns_name), "key of names");

/* That of this CPU; NULL only for the verifier. */
static __always_inline struct sluice_dns_reader *the_reader(void)
{
	const __u32 zero = 0;

	return bpf_map_lookup_elem(&dns_reader, &zero);
}

/* ---- reading ---- */

/* Hashes the name that the reader has read last. */
__attribute__((noinline)) int dns_hash_name(void)
{
	struct sluice_dns_reader *r = the_reader();

	if (r)
		dns_hash(&r->m);
	return 0;
}

/* Reads and hashes the name at `at` of the message. Where it ends, 0 if it is damaged. */
__attribute__((noinline)) int dns_name(__u32 at)
{
	struct sluice_dns_reader *r = the_reader();
	const int end = r ? (int)dns_copy_name(&r->m, at) : 0;

	if (end)
		dns_hash_name();
	return end;
}

/* Reads the next record of the message; enum dns_status. */
__attribute__((noinline)) int dns_record(void)
{
	struct sluice_dns_reader *r = the_reader();

	return r ? dns_next(&r->m) : DNS_DAMAGED;
}

/* Where the payload of the packet begins, 0 if it is damaged. */
static __always_inline __u32 find_payload(struct __sk_buff *skb, const struct dns_place *place)
{
	__u8 offset = 0;

	if (place->protocol != IPPROTO_TCP)
		return place->l4 + UDP_HEADER;
	if (bpf_skb_load_bytes(skb, place->l4 + offsetof(struct tcp_header, offset), &offset,
			       sizeof(offset)))
		return 0;
	return place->l4 + (offset >> 4) * 4;
}

/*
 * Finds the message that begins at `at` of the packet, and moves this to the message itself, behind
 * the length that TCP has in front of it. DNS_UNUSUAL: there is no whole message.
 */
static __always_inline int find_message(struct __sk_buff *skb, const struct dns_place *place,
					__u32 *at, __u32 *length)
{
	__be16 prefix;

	*length = place->end - *at;
	if (place->protocol == IPPROTO_TCP) {
		if (*at + sizeof(prefix) > place->end ||
		    bpf_skb_load_bytes(skb, *at, &prefix, sizeof(prefix)))
			return DNS_UNUSUAL;
		*at += sizeof(prefix);
		*length = bpf_ntohs(prefix);
		if (*at + *length > place->end)
			return DNS_UNUSUAL;
	}
	return *at >= place->end || !*length ? DNS_UNUSUAL : DNS_OK;
}

/* Loads the message that begins at `at` of the packet, which moves behind it. */
static __always_inline int load_message(struct __sk_buff *skb, const struct dns_place *place,
					struct dns_message *m, __u32 *at)
{
	__u32 length;
	const int status = find_message(skb, place, at, &length);
	const __u32 begin = *at;

	m->names = 0;
	m->addresses = 0;
	m->length = 0;
	if (status)
		return status;
	*at += length;
	if (length > DNS_MESSAGE_MAX)
		return DNS_TOO_LARGE;
	m->length = length;
	/* The same number, in a form in which the verifier of 5.10 sees that it is 1 to 4096. */
	asm volatile("" : "+r"(length));
	length = ((length - 1) & (DNS_MESSAGE_MAX - 1)) + 1;
	return bpf_skb_load_bytes(skb, begin, m->bytes, length) ? DNS_DAMAGED : DNS_OK;
}

/* Fills the key of `questions`, which is all 0, but for the id. `direction` is the packet's. */
static __always_inline bool identify_flow(struct __sk_buff *skb, const struct dns_place *place,
					  struct sluice_dns_reader *r, __u32 direction)
{
	struct sluice_question_key *key = &r->question;
	const bool egress = direction == SLUICE_EGRESS;
	struct l4_ports ports;
	__be16 type = 0;

	key->ifindex = skb->ifindex;
	key->protocol = place->protocol;
	if (bpf_skb_load_bytes(skb, place->l4, &ports, sizeof(ports)) ||
	    bpf_skb_load_bytes(skb, offsetof(struct ethhdr, h_proto), &type, sizeof(type)))
		return false;
	key->local_port = egress ? ports.source : ports.destination;
	key->remote_port = egress ? ports.destination : ports.source;
	if (type == bpf_htons(ETH_P_IPV6)) {
		const __u32 at =
			egress ? offsetof(struct ipv6hdr, daddr) : offsetof(struct ipv6hdr, saddr);

		return !bpf_skb_load_bytes(skb, ETH_HLEN + at, key->remote, 16);
	}

	const __u32 at = egress ? offsetof(struct iphdr, daddr) : offsetof(struct iphdr, saddr);

	*(__be32 *)&key->remote[8] = bpf_htonl(0xffff);
	return !bpf_skb_load_bytes(skb, ETH_HLEN + at, &key->remote[12], 4);
}

/*
 * Stores r->noted under r->question, if the endpoint may have one more element. The reader is that
 * of the CPU; its `now` is set.
 */
__attribute__((noinline)) int dns_note(void)
{
	struct sluice_dns_reader *r = the_reader();
	struct sluice_endpoint *endpoint;
	__u32 index;

	if (!r)
		return 0;
	index = r->question.ifindex;
	endpoint = find_record(&index);
	if (!endpoint)
		return 0;
	if (r->now - endpoint->questions_since >= SLUICE_QUESTIONS_PERIOD) {
		endpoint->questions_since = r->now;
		WRITE_ONCE(endpoint->questions, 0);
	}
	if (READ_ONCE(endpoint->questions) >= SLUICE_QUESTIONS_NOTED)
		return 0;
	__sync_fetch_and_add(&endpoint->questions, 1);
	bpf_map_update_elem(&questions, &r->question, &r->noted, BPF_ANY);
	return 1;
}

/* Removes what is stored under r->question. */
__attribute__((noinline)) int dns_forget(void)
{
	struct sluice_dns_reader *r = the_reader();
	struct sluice_endpoint *endpoint;
	__u32 index;

	if (!r || bpf_map_delete_elem(&questions, &r->question))
		return 0;
	index = r->question.ifindex;
	endpoint = find_record(&index);
	if (endpoint && READ_ONCE(endpoint->questions) > 0)
		__sync_fetch_and_add(&endpoint->questions, -1);
	return 1;
}

/* ---- learning ---- */

/* ---- what becomes of a message ---- */

/*
 * Prepares the reader for a packet: whose it is, the time, and what the agent has configured. The
 * key of `questions` is all 0.
 */
static __always_inline void prepare(struct __sk_buff *skb, struct sluice_dns_reader *r,
				    const struct sluice_state *s)
{
	__builtin_memset(&r->question, 0, sizeof(r->question));
	r->ifindex = skb->ifindex;
	r->now = monotonic_seconds();
	r->ttl_min = s->name_ttl_min;
	r->grace = s->name_grace;
	r->m.key[0] = s->name_key[0];
	r->m.key[1] = s->name_key[1];
}
