/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "dns.bpf.h"
#include "dns_held.bpf.h"
#include "dns_stream.bpf.h"
#include "events.bpf.h"
#include "reset.bpf.h"

/* Judges what pods ask their DNS servers, and answers questions that are not allowed. */

#define DNS_RCODE_NAME_ERROR 3
#define DNS_RCODE_REFUSED 5

/* True if the list has a selector that matches the question's name. */
static __always_inline bool may_ask(const struct sluice_name *name, const struct dns_place *place)
{
	struct sluice_policy_key key = {
		.prefixlen = SLUICE_PREFIX_PROTOCOL,
		.policy_id = place->policy_id,
		.direction = SLUICE_QUESTION,
		.protocol = place->list,
	};

	for (__u32 i = 0; i < SLUICE_NAME_SELECTORS; i++) {
		const struct sluice_policy_value *value;

		key.cidr_id = READ_ONCE(name->selector[i]);
		if (!key.cidr_id)
			break;
		value = bpf_map_lookup_elem(&policy, &key);
		if (value && value->verdict == SLUICE_VERDICT_ALLOW)
			return true;
	}
	return false;
}

/*
 * Turns the question into its own answer with this RCODE. Addresses and ports change places, which
 * alters no checksum. False: the packet is no plain one.
 */
static __always_inline bool turn_question(struct __sk_buff *skb, __u32 l4, __u16 rcode)
{
	const bool v6 = l4 == ETH_HLEN + sizeof(struct ipv6hdr);
	const __u32 flags_at = l4 + UDP_HEADER + 2;
	const __u32 checksum_at = l4 + 6;
	__be32 addresses[8];
	__be16 ports[2];
	__be16 was;
	__be16 flags;

	if (!v6 && l4 != ETH_HLEN + sizeof(struct iphdr))
		return false;
	if (bpf_skb_load_bytes(skb, l4, ports, sizeof(ports)) ||
	    bpf_skb_load_bytes(skb, flags_at, &was, sizeof(was)))
		return false;

	const __be16 turned[2] = {ports[1], ports[0]};

	flags = bpf_htons((bpf_ntohs(was) & ~(DNS_FLAG_TRUNCATED | DNS_MASK_RCODE)) |
			  DNS_FLAG_RESPONSE | rcode);
	if (v6) {
		const __u32 at = ETH_HLEN + offsetof(struct ipv6hdr, saddr);

		if (bpf_skb_load_bytes(skb, at, addresses, 32) ||
		    bpf_skb_store_bytes(skb, at, &addresses[4], 16, BPF_F_RECOMPUTE_CSUM) ||
		    bpf_skb_store_bytes(skb, at + 16, &addresses[0], 16, BPF_F_RECOMPUTE_CSUM))
			return false;
	} else {
		const __u32 at = ETH_HLEN + offsetof(struct iphdr, saddr);

		if (bpf_skb_load_bytes(skb, at, addresses, 8) ||
		    bpf_skb_store_bytes(skb, at, &addresses[1], 4, BPF_F_RECOMPUTE_CSUM) ||
		    bpf_skb_store_bytes(skb, at + 4, &addresses[0], 4, BPF_F_RECOMPUTE_CSUM))
			return false;
	}
	return !bpf_skb_store_bytes(skb, l4, turned, sizeof(turned), BPF_F_RECOMPUTE_CSUM) &&
	       !bpf_l4_csum_replace(skb, checksum_at, was, flags,
				    BPF_F_MARK_MANGLED_0 | sizeof(flags)) &&
	       !bpf_skb_store_bytes(skb, flags_at, &flags, sizeof(flags), BPF_F_RECOMPUTE_CSUM);
}

/* Gives the pod what it gets for a question that is not allowed. */
static __always_inline int refuse(struct __sk_buff *skb, const struct sluice_state *s,
				  const struct dns_place *place)
{
	const __u32 wanted = s->dns_reject;
	const __u16 rcode =
		wanted == SLUICE_REJECT_NAME_ERROR ? DNS_RCODE_NAME_ERROR : DNS_RCODE_REFUSED;
	struct ethhdr ethernet;

	if (wanted == SLUICE_REJECT_DROP)
		return TC_ACT_SHOT;
	if (place->protocol == IPPROTO_TCP)
		return answer_with_reset(skb, SLUICE_EGRESS);
	if (bpf_skb_load_bytes(skb, 0, &ethernet, sizeof(ethernet)) ||
	    !turn_question(skb, place->l4, rcode))
		return TC_ACT_SHOT;
	return send_turned(skb, &ethernet, SLUICE_EGRESS);
}

static __always_inline void report_refused(struct __sk_buff *skb, const struct sluice_state *s,
					   const struct dns_place *place)
{
	struct l4_ports ports = {};
	struct report r = {
		.rule = place->rule,
		.policy_id = place->policy_id,
		.reason = SLUICE_REASON_DNS_REFUSED,
		.direction = SLUICE_EGRESS,
		.protocol = place->protocol,
	};

	bpf_skb_load_bytes(skb, place->l4, &ports, sizeof(ports));
	r.sport = ports.source;
	r.dport = ports.destination;
	emit_event(skb, s, &r);
}

/*
 * Notes the question at `at` of the packet, which moves behind it, so that its answer counts; not
 * if the endpoint has asked too much. False: it is no question.
 */
static __always_inline bool read_question(struct __sk_buff *skb, const struct dns_place *place,
					  struct sluice_dns_reader *r, __u32 *at)
{
	if (load_message(skb, place, &r->m, at) || dns_open(&r->m) ||
	    r->m.flags & DNS_FLAG_RESPONSE)
		return false;
	r->question.id = r->m.id;
	r->noted.name.hash[0] = r->m.name[0].hash[0];
	r->noted.name.hash[1] = r->m.name[0].hash[1];
	r->noted.asked = r->now;
	dns_note();
	return true;
}

/* True if not every name may be asked for. */
static __always_inline bool is_restricted(const struct dns_place *place)
{
	return place->list != SLUICE_DNS_ANY;
}

/* The reason for what is no question. */
static __always_inline __u32 reason_of_others(const struct dns_place *place)
{
	return is_restricted(place) ? SLUICE_REASON_DNS_REFUSED : SLUICE_REASON_ESTABLISHED;
}

/*
 * Judges the question that has been read. `part`: how the agent is to read the packet. Returns the
 * reason.
 */
static __always_inline __u32 judge_name(struct __sk_buff *skb, const struct dns_place *place,
					const struct sluice_dns_reader *r, __u32 part,
					bool was_held)
{
	const struct sluice_name *name = bpf_map_lookup_elem(&names, &r->m.name[0]);

	if (!name && !was_held && hold(skb, SLUICE_EGRESS, place->protocol, part))
		return SLUICE_REASON_DNS_HELD;
	return name && may_ask(name, place) ? SLUICE_REASON_ESTABLISHED : SLUICE_REASON_DNS_REFUSED;
}

/* Judges the questions that begin at `at` of the packet. Returns the reason. */
static __always_inline __u32 judge_messages(struct __sk_buff *skb, const struct dns_place *place,
					    struct sluice_dns_reader *r, __u32 at, __u32 part,
					    bool was_held)
{
	const __u32 otherwise = reason_of_others(place);
	struct dns_place messages = *place;

	if (part == SLUICE_DNS_BARE)
		messages.protocol = IPPROTO_UDP; /* no length in front */
	for (__u32 i = 0; i < DNS_SEGMENT_MESSAGES; i++) {
		if (!read_question(skb, &messages, r, &at))
			return otherwise;
		if (is_restricted(place)) {
			const __u32 reason = judge_name(skb, place, r, part, was_held);

			if (reason != SLUICE_REASON_ESTABLISHED)
				return reason;
		}
		if (at >= place->end)
			return SLUICE_REASON_ESTABLISHED;
	}
	return otherwise;
}

/*
 * Judges the packet of a flow to a DNS server. Returns the reason. Where not every name may be
 * asked for, what is no question is refused, too.
 */
static __always_inline __u32 judge_question(struct __sk_buff *skb, const struct dns_place *place,
					    const struct sluice_state *s)
{
	const bool restricted = is_restricted(place);
	const __u32 otherwise = reason_of_others(place);
	const bool stream = place->protocol == IPPROTO_TCP;
	struct sluice_dns_reader *r = the_reader();
	__u32 at = find_payload(skb, place);
	const __u32 mark = skb->mark;
	const bool was_held = (mark & ~1U) == (__u32)s->dns_mark;
	__u32 part = was_held && mark & 1 ? SLUICE_DNS_BARE : SLUICE_DNS_WHOLE;

	if (!r || !at)
		return restricted ? SLUICE_REASON_INTERNAL : SLUICE_REASON_ESTABLISHED;
	if (was_held)
		skb->mark = 0;
	prepare(skb, r, s);
	/* What comes in the other fragments of a segment is not read. */
	if (!identify_flow(skb, place, r, SLUICE_EGRESS) ||
	    (stream && place->fragment != FRAGMENT_NONE))
		return otherwise;
	if (stream && !was_held) {
		switch (follow_questions(skb, place, r, at)) {
		case STREAM_NOTHING:
		case STREAM_LENGTH:
			return SLUICE_REASON_ESTABLISHED;
		case STREAM_QUESTION:
			part = SLUICE_DNS_BARE;
			break;
		case STREAM_WHOLE:
			break;
		default:
			return otherwise;
		}
	}
	return judge_messages(skb, place, r, at, part, was_held);
}
