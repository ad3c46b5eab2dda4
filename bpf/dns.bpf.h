/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "context.bpf.h"
#include "endpoints.bpf.h"
#include "events.bpf.h"
#include "maps.bpf.h"
#include "names.bpf.h"
#include "parse.bpf.h"

/*
 * Reads the DNS messages of pods. A question is noted; an answer to it gives the endpoint the
 * addresses of names before the pod has them. Names that no selector has been compared with yet are
 * for the agent: it is given the packet, and sends it on with the mark state.dns_mark. Messages
 * that are not whole in one packet, or too large for these programs, are for the agent, too, which
 * puts them together and learns from them. If it does not run, the packet goes on and nothing is
 * learned.
 *
 * The functions that are not inline are global ones, because the verifier looks at each of these
 * once. They take nothing but numbers (Linux 5.10), so what they work on is in the map
 * `dns_reader`.
 */

#define DNS_NAME(m, at) ((__u32)dns_name(at))
int dns_name(__u32 at);

#include "dns_message.bpf.h"

#define DNS_RCODE_REFUSED 5
#define DNS_SEGMENT_MESSAGES 4 /* of a TCP segment, that are read */
/* Bytes of a frame: more does not fit into the page in which the agent sends it (test_run.c). */
#define DNS_HELD_MAX 3400
/* The same of a TCP segment, which the agent can cut. */
#define DNS_HELD_SEGMENT_MAX 32000
#define DNS_SEGMENT_LEAST 1220 /* IPv6 (RFC 8200, 5) has room for that much payload everywhere */

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

/*
 * An element of `questions` with `stream` set and id 0 is about a TCP flow from a DNS server. Its
 * value has, as sequence numbers, where the segment began that was read last, and where the next
 * message begins, in place of the hash.
 */
#define STREAM_BEGIN(element) ((element)->name.hash[0])
#define STREAM_NEXT(element) ((element)->name.hash[1])
/* 1 from the first part of a message on: the agent follows the rest of the connection. */
#define STREAM_OF_AGENT(element) ((element)->asked)

enum dns_stream {
	STREAM_NOTHING,	  /* no payload */
	STREAM_UNKNOWN,	  /* what the segment begins with is not known */
	STREAM_WHOLE,	  /* whole messages */
	STREAM_BEGINS,	  /* a message begins, and some message does not end here */
	STREAM_CONTINUES, /* what the agent follows */
};

/* Where the message is; what a tail-called program receives in skb->cb. */
struct dns_place {
	__u32 l4;
	__u32 end;
	__u32 policy_id;
	__u32 rule;
	__u8 protocol;
	__u8 list;
	__u8 fragment;
};

/* The rest of a question that comes in fragments goes where its beginning went. */
static __always_inline bool may_be_dns(const struct context *c, __u32 direction)
{
	const struct packet *p = &c->packet;

	return reason_allows(c->decision.reason) &&
	       (p->fragment != FRAGMENT_LATER || direction == SLUICE_INGRESS) &&
	       (p->protocol == IPPROTO_UDP || p->protocol == IPPROTO_TCP);
}

static __always_inline void store_dns_place(const struct context *c)
{
	const struct packet *p = &c->packet;
	const bool v6 = c->ethertype == bpf_htons(ETH_P_IPV6);
	const __u32 header = v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);

	c->skb->cb[0] = p->plain ? ETH_HLEN + header : p->l4;
	c->skb->cb[1] = p->plain ? c->length : p->end;
	c->skb->cb[2] = c->policy_id;
	c->skb->cb[3] = c->decision.rule;
	c->skb->cb[4] = p->protocol | (__u32)c->decision.dns << 8 | (__u32)p->fragment << 16;
}

static __always_inline struct dns_place load_dns_place(const struct __sk_buff *skb)
{
	const __u32 last = skb->cb[4];
	struct dns_place place = {
		.l4 = skb->cb[0],
		.end = skb->cb[1],
		.policy_id = skb->cb[2],
		.rule = skb->cb[3],
		.protocol = last,
		.list = last >> 8,
		.fragment = last >> 16,
	};

	return place;
}

static __always_inline struct sluice_dns_reader *the_reader(void)
{
	const __u32 zero = 0;

	return bpf_map_lookup_elem(&dns_reader, &zero);
}

/* ---- reading ---- */

__attribute__((noinline)) int dns_hash_name(void)
{
	struct sluice_dns_reader *r = the_reader();

	if (r)
		dns_hash(&r->m);
	return 0;
}

__attribute__((noinline)) int dns_name(__u32 at)
{
	struct sluice_dns_reader *r = the_reader();
	const int end = r ? (int)dns_copy_name(&r->m, at) : 0;

	if (end)
		dns_hash_name();
	return end;
}

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

/*
 * Over TCP, answers are read only where the server begins a message. Otherwise, whoever owns a name
 * could answer with text that looks like a message about other names, and a pod could have it begin
 * where a segment does. Beginnings are known from the handshake on. A segment may be sent again.
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

/* ---- learning ---- */

static __always_inline void add_selector(struct sluice_dns_reader *r, __u32 selector)
{
	const __u32 count = DNS_FRESH(r->selectors);

	for (__u32 i = 0; i < SLUICE_NAME_SELECTORS; i++) {
		if (i >= count)
			break;
		if (r->selector[i] == selector)
			return;
	}
	if (count >= SLUICE_NAME_SELECTORS)
		return;
	r->selector[count & (SLUICE_NAME_SELECTORS - 1)] = selector;
	DNS_FRESH(r->selectors) = count + 1;
}

/* Adds the selectors of one name of the chain. 0: the name is unknown. */
__attribute__((noinline)) int dns_match(__u32 index)
{
	struct sluice_dns_reader *r = the_reader();
	const struct sluice_name *name;

	if (!r)
		return 0;
	name = bpf_map_lookup_elem(&names, &r->m.name[index & (DNS_NAMES_MAX - 1)]);
	if (!name)
		return 0;
	for (__u32 i = 0; i < SLUICE_NAME_SELECTORS; i++) {
		const __u32 selector = READ_ONCE(name->selector[i]);

		if (!selector)
			break;
		if (r->resolver || !(selector & SLUICE_CIDR_NAME_RESOLVERS))
			add_selector(r, selector);
	}
	r->upto[index & (DNS_NAMES_MAX - 1)] = r->selectors;
	return 1;
}

/* False: a name of the chain is unknown. */
static __always_inline bool match_chain(struct sluice_dns_reader *r)
{
	r->selectors = 0;
	for (__u32 i = 0; i < DNS_NAMES_MAX; i++) {
		if (i >= r->m.names)
			break;
		if (!dns_match(i))
			return false;
	}
	return true;
}

/*
 * The slot of a selector: the one that it has, else a free or expired one, else that which expires
 * first. Different selectors look at different slots first, so that two CPUs rarely choose the
 * same.
 */
static __always_inline void put_slot(struct sluice_learned *to, __u32 selector, __u32 expires,
				     __u32 now)
{
	__u32 chosen = 0;
	__u32 least = ~0u;

	for (__u32 i = 0; i < SLUICE_NAME_SELECTORS; i++) {
		const __u32 index = (selector + i) & (SLUICE_NAME_SELECTORS - 1);
		const struct sluice_learned_slot slot = read_slot(&to->slot[index]);
		const __u32 left = is_live(&slot, now) ? slot.expires - now + 1 : 0;

		if (slot.selector == selector) {
			chosen = index;
			if (left && (__s32)(slot.expires - expires) > 0)
				expires = slot.expires;
			break;
		}
		if (left < least) {
			least = left;
			chosen = index;
		}
	}

	const union {
		struct sluice_learned_slot slot;
		__u64 word;
	} both = {.slot = {.selector = selector, .expires = expires}};

	WRITE_ONCE(*(__u64 *)&to->slot[chosen & (SLUICE_NAME_SELECTORS - 1)], both.word);
}

static __always_inline void put_slots(const struct sluice_dns_reader *r, struct sluice_learned *to,
				      __u32 count, __u32 expires)
{
	for (__u32 i = 0; i < SLUICE_NAME_SELECTORS; i++) {
		if (i >= count)
			break;
		put_slot(to, r->selector[i], expires, r->now);
	}
}

/* Stores one address of the message with the selectors of its names. */
__attribute__((noinline)) int dns_learn(__u32 index)
{
	struct sluice_dns_reader *r = the_reader();
	const struct dns_address *address;
	struct sluice_learned *known;
	__be32 key[4] = {};
	void *inner;
	__u32 ifindex;
	__u32 count;
	__u32 ttl;

	if (!r)
		return 0;
	ifindex = r->ifindex;
	inner = bpf_map_lookup_elem(&learned, &ifindex);
	if (!inner)
		return 0;
	address = &r->m.address[index & (DNS_RECORDS_MAX - 1)];
	map_address(key, (const union address *)address->bytes, false);
	if (address->v6)
		copy_words(key, (const __be32 *)address->bytes);
	count = r->upto[(address->names - 1) & (DNS_NAMES_MAX - 1)];
	if (!count)
		return 0;
	ttl = address->ttl < r->ttl_min ? r->ttl_min : address->ttl;
	if (ttl > SLUICE_NAME_TTL_MAX)
		ttl = SLUICE_NAME_TTL_MAX;

	const __u32 expires = r->now + ttl + r->grace;

	known = bpf_map_lookup_elem(inner, key);
	if (!known) {
		__builtin_memset(&r->fresh, 0, sizeof(r->fresh));
		put_slots(r, &r->fresh, count, expires);
		if (!bpf_map_update_elem(inner, key, &r->fresh, BPF_NOEXIST))
			return 1;
		/* Another CPU was faster. */
		known = bpf_map_lookup_elem(inner, key);
		if (!known)
			return 0;
	}
	put_slots(r, known, count, expires);
	return 1;
}

/* ---- what becomes of a message ---- */

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

static __always_inline bool is_from_resolver(const struct sluice_dns_reader *r)
{
	struct sluice_resolver_key key = {
		.port = r->question.remote_port,
		.protocol = r->question.protocol,
	};

	__builtin_memcpy(key.address, r->question.remote, sizeof(key.address));
	return bpf_map_lookup_elem(&resolvers, &key);
}

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

/* Returns the reason, for several messages that of the last one. DNS_HELD: ask_agent() was called.
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
		switch (follow_stream(skb, place, r, at)) {
		case STREAM_NOTHING:
			return SLUICE_REASON_REPLY;
		case STREAM_UNKNOWN:
			return reason;
		case STREAM_BEGINS:
			return ask_agent(r, SLUICE_DNS_BEGINS);
		case STREAM_CONTINUES:
			return ask_agent(r, SLUICE_DNS_PART);
		case STREAM_WHOLE:
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
	r->question.id = 0;
	r->question.stream = 1;
	dns_forget();
}

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
