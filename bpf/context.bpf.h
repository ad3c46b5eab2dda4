/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "sluice/abi.h"

/*
 * State that the headers of bpf/ share while one packet is judged. Every function is inlined with
 * its direction and family as constants: kernel 5.10 has no tail calls beside BPF-to-BPF calls on
 * every architecture, and each copy loses what its direction and family never need.
 */

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, value) (*(volatile __typeof__(x) *)&(x) = (value))

/* Stands for "no reason to stop here" where a function returns a reason. */
#define SLUICE_GO_ON SLUICE_REASON_COUNT

union address {
	__be32 v4;
	__be32 v6[4];
};

enum fragment_kind {
	FRAGMENT_NONE = 0,
	FRAGMENT_FIRST,
	FRAGMENT_LATER,
};

/* An IP packet's headers: the packet itself, or the one an ICMP error quotes. */
struct packet {
	union address source;
	union address destination;
	__u32 l4;     /* offset of the transport header */
	__u32 end;    /* offset of the first byte after the IP packet */
	__be16 sport; /* ICMP echo: identifier */
	__be16 dport; /* ICMP: type << 8 | code */
	__u8 protocol;
	__u8 tcp_flags;
	__u8 hop_limit;
	__u8 prefixlen; /* of a policy lookup: how much of protocol and port is known */
	bool has_addresses;
	bool plain;    /* the common packet, read in place */
	__u8 fragment; /* enum fragment_kind */
	__u8 fragment_protocol;
	__be32 fragment_id;
};

struct decision {
	__u32 rule;
	__u32 cidr_id;
	__u32 jump;
	__u32 reason;
	bool new_flow; /* conntrack state was created for it */
	/* For a packet to the pod: SLUICE_CT_FROM_NODE, _MASQUERADED, _UNTRACED, or none. */
	__u8 origin_state;
	/*
	 * At egress: the list of names for which the peer may be asked; see
	 * sluice_policy_value.flags. Of an answer, that of its flow.
	 */
	__u8 dns;
	__u32 name;	/* the selector of names that allows the flow, or 0 */
	bool ask_names; /* denied, but a rule for names may come before: another program judges */
};

struct context {
	struct __sk_buff *skb;
	const struct sluice_state *state;
	const struct sluice_endpoint *endpoint;
	__u32 ifindex;
	__u32 epoch;
	__u32 policy_id;
	__u32 flags;
	__u32 now; /* low half of jiffies */
	__u32 length;
	__be16 ethertype;
	/* The program looks up what the endpoint has learned; a constant. */
	bool knows_names;
	struct packet packet;
	struct decision decision;
};

/* Copies word by word, so that the compiler can keep the words in registers. */
static __always_inline void copy_words(__be32 *to, const __be32 *from)
{
	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	to[3] = from[3];
}

static __always_inline bool same_address(const union address *a, const union address *b, bool v6)
{
	if (!v6)
		return a->v4 == b->v4;
	return a->v6[0] == b->v6[0] && a->v6[1] == b->v6[1] && a->v6[2] == b->v6[2] &&
	       a->v6[3] == b->v6[3];
}

/* False for every address if the endpoint has none of that family. */
static __always_inline bool is_own(const struct context *c, const union address *a, bool v6)
{
	if (!v6)
		return a->v4 && a->v4 == c->endpoint->ipv4;

	const __be32 *own = (const __be32 *)c->endpoint->ipv6;
	return a->v6[3] == own[3] && a->v6[2] == own[2] && a->v6[1] == own[1] &&
	       a->v6[0] == own[0] && (own[0] | own[1] | own[2] | own[3]);
}

static __always_inline bool is_isolated(const struct context *c, __u32 direction)
{
	return c->flags & SLUICE_EP_ISOLATED(direction);
}

static __always_inline bool is_icmp(__u8 protocol, bool v6)
{
	return protocol == (v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

static __always_inline __u8 icmp_type(__be16 dport)
{
	return bpf_ntohs(dport) >> 8;
}

static __always_inline __u8 echo_request_type(bool v6)
{
	return v6 ? 128 : 8;
}

static __always_inline __u8 echo_reply_type(bool v6)
{
	return v6 ? 129 : 0;
}

static __always_inline bool is_echo(__be16 dport, bool v6)
{
	__u8 type = icmp_type(dport);
	return type == echo_request_type(v6) || type == echo_reply_type(v6);
}
