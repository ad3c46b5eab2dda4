/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "context.bpf.h"

/*
 * Parses bytes into struct packet. The common packet (no options, no fragment, TCP or UDP, headers
 * in the linear part) is read in place. All others go to a separate program, which copies with
 * bpf_skb_load_bytes and can therefore read paged data as well; only that program gives reasons.
 */

#define IPV4_DONT_FRAGMENT 0x4000
#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_FRAGMENT_OFFSET 0x1fff
#define IPV6_FRAGMENT_OFFSET 0xfff8
#define IPV6_MORE_FRAGMENTS 0x0001
#define EXTENSION_HEADERS_MAX 8 /* RFC 8200 names seven that may occur together */

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

struct l4_ports {
	__be16 source;
	__be16 destination;
};

struct tcp_header {
	__be16 source;
	__be16 destination;
	__be32 sequence;
	__be32 acknowledgement;
	__u8 offset; /* header length in words, in the upper four bits */
	__u8 flags;
	__be16 window;
	__be16 checksum;
	__be16 urgent;
};

#define TCP_HEADER_MIN 20
#define UDP_HEADER 8
#define SCTP_HEADER 12
#define ICMP_HEADER 8

/* Parses TCP or UDP at `l4`, where `space` bytes belong to the packet. False: not for this path. */
static __always_inline bool parse_ports_in_place(struct packet *p, const void *l4,
						 const void *data_end, __u32 space)
{
	if (l4 + UDP_HEADER > data_end)
		return false;
	if (p->protocol == IPPROTO_TCP) {
		const struct tcp_header *tcp = l4;

		if (l4 + TCP_HEADER_MIN > data_end || space < TCP_HEADER_MIN || tcp->offset < 0x50)
			return false;
		p->tcp_flags = tcp->flags;
	} else if (p->protocol != IPPROTO_UDP || space < UDP_HEADER) {
		return false;
	}
	const struct l4_ports *ports = l4;

	p->sport = ports->source;
	p->dport = ports->destination;
	p->prefixlen = SLUICE_PREFIX_PORT;
	p->has_addresses = true;
	p->plain = true;
	p->fragment = FRAGMENT_NONE;
	return true;
}

static __always_inline bool parse4_in_place(struct context *c, const void *data,
					    const void *data_end)
{
	struct packet *p = &c->packet;
	const struct iphdr *ip = data + ETH_HLEN;

	if ((void *)(ip + 1) > data_end)
		return false;
	if (*(const __u8 *)ip != 0x45 ||
	    (ip->frag_off & bpf_htons(IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET)))
		return false;
	__u32 total = bpf_ntohs(ip->tot_len);

	if (total + ETH_HLEN > c->length || total < sizeof(*ip))
		return false;
	p->source.v4 = ip->saddr;
	p->destination.v4 = ip->daddr;
	p->protocol = ip->protocol;
	return parse_ports_in_place(p, ip + 1, data_end, total - sizeof(*ip));
}

static __always_inline bool parse6_in_place(struct context *c, const void *data,
					    const void *data_end)
{
	struct packet *p = &c->packet;
	const struct ipv6hdr *ip = data + ETH_HLEN;

	if ((void *)(ip + 1) > data_end)
		return false;
	if (*(const __u8 *)ip >> 4 != 6)
		return false;
	__u32 payload = bpf_ntohs(ip->payload_len);

	if (payload + sizeof(*ip) + ETH_HLEN > c->length)
		return false;
	copy_words(p->source.v6, ip->saddr.in6_u.u6_addr32);
	copy_words(p->destination.v6, ip->daddr.in6_u.u6_addr32);
	p->protocol = ip->nexthdr;
	return parse_ports_in_place(p, ip + 1, data_end, payload);
}

/*
 * Sets `end`. A GSO packet over 64 KiB has a length of zero. A quoted packet may be truncated.
 * False: shorter than its header says.
 */
static __always_inline bool set_end(const struct context *c, struct packet *p, __u32 start,
				    __u32 total, bool no_length, bool quoted)
{
	if (no_length && c->skb->gso_size) {
		p->end = c->length;
		return true;
	}
	p->end = start + total;
	if (p->end <= c->length)
		return true;
	p->end = c->length;
	return quoted;
}

static __always_inline __u32 parse4_header(const struct context *c, struct packet *p, __u32 start,
					   bool quoted)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(c->skb, start, &ip, sizeof(ip)))
		return SLUICE_REASON_TRUNCATED;
	__u32 header = (*(const __u8 *)&ip & 0x0f) * 4;

	if (*(const __u8 *)&ip >> 4 != 4)
		return SLUICE_REASON_BAD_HEADER;
	p->source.v4 = ip.saddr;
	p->destination.v4 = ip.daddr;
	p->protocol = ip.protocol;
	p->has_addresses = true;

	__u32 total = bpf_ntohs(ip.tot_len);

	if (header < sizeof(ip))
		return SLUICE_REASON_BAD_HEADER;
	if (!set_end(c, p, start, total, !total, quoted))
		return SLUICE_REASON_TRUNCATED;
	p->l4 = start + header;
	if (p->l4 > p->end)
		return SLUICE_REASON_BAD_HEADER;

	__u16 fragment = bpf_ntohs(ip.frag_off);

	if (fragment & (IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET)) {
		__u16 offset = fragment & IPV4_FRAGMENT_OFFSET;

		p->fragment = offset ? FRAGMENT_LATER : FRAGMENT_FIRST;
		p->fragment_protocol = ip.protocol;
		p->fragment_id = ip.id;
		/* It would overwrite the flags of a TCP header (RFC 3128). */
		if (offset == 1 && ip.protocol == IPPROTO_TCP)
			return SLUICE_REASON_FRAGMENT_TINY;
	}
	return SLUICE_GO_ON;
}

struct extension_header {
	__u8 next;
	__u8 length;
	__be16 offset;	       /* fragment header */
	__be32 identification; /* fragment header */
};

#define ROUTING_SEGMENTS_LEFT(header) (((const __u8 *)(header))[3])

static __always_inline bool is_extension(__u8 next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS ||
	       next == IPPROTO_FRAGMENT || next == IPPROTO_AH;
}

static __always_inline __u32 parse6_fragment(struct packet *p, const struct extension_header *h)
{
	__u16 offset = bpf_ntohs(h->offset);

	/* One datagram is fragmented once; a second header would hide the first one's offset. */
	if (p->fragment != FRAGMENT_NONE)
		return SLUICE_REASON_BAD_HEADER;
	if (offset & (IPV6_FRAGMENT_OFFSET | IPV6_MORE_FRAGMENTS)) {
		p->fragment = offset & IPV6_FRAGMENT_OFFSET ? FRAGMENT_LATER : FRAGMENT_FIRST;
		p->fragment_protocol = h->next;
		p->fragment_id = h->identification;
	}
	return SLUICE_GO_ON;
}

/*
 * The reason for a header that ends beyond the packet: a fragment cut to hide the rest, or damage.
 */
static __always_inline __u32 cut_short(const struct packet *p)
{
	return p->fragment == FRAGMENT_FIRST ? SLUICE_REASON_FRAGMENT_TINY
					     : SLUICE_REASON_TRUNCATED;
}

static __always_inline __u32 walk_extensions(const struct context *c, struct packet *p)
{
	for (int i = 0; i < EXTENSION_HEADERS_MAX; i++) {
		struct extension_header h;

		if (!is_extension(p->protocol) || p->fragment == FRAGMENT_LATER)
			return SLUICE_GO_ON;
		if (p->l4 + sizeof(h) > p->end || bpf_skb_load_bytes(c->skb, p->l4, &h, sizeof(h)))
			return cut_short(p);

		__u32 length = ((__u32)h.length + 1) * 8;

		if (p->protocol == IPPROTO_FRAGMENT) {
			__u32 reason = parse6_fragment(p, &h);

			if (reason != SLUICE_GO_ON)
				return reason;
			length = sizeof(h);
		} else if (p->protocol == IPPROTO_AH) {
			length = ((__u32)h.length + 2) * 4;
		} else if (p->protocol == IPPROTO_ROUTING && ROUTING_SEGMENTS_LEFT(&h)) {
			/* The packet does not go to the destination that would be judged. */
			return SLUICE_REASON_BAD_HEADER;
		}
		p->protocol = h.next;
		p->l4 += length;
		if (p->l4 > p->end)
			return cut_short(p);
	}
	if (!is_extension(p->protocol) || p->fragment == FRAGMENT_LATER)
		return SLUICE_GO_ON;
	return SLUICE_REASON_EXTENSION_HEADERS;
}

static __always_inline __u32 parse6_header(const struct context *c, struct packet *p, __u32 start,
					   bool quoted)
{
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(c->skb, start, &ip, sizeof(ip)))
		return SLUICE_REASON_TRUNCATED;
	if (*(const __u8 *)&ip >> 4 != 6)
		return SLUICE_REASON_BAD_HEADER;
	copy_words(p->source.v6, ip.saddr.in6_u.u6_addr32);
	copy_words(p->destination.v6, ip.daddr.in6_u.u6_addr32);
	p->protocol = ip.nexthdr;
	p->hop_limit = ip.hop_limit;
	p->has_addresses = true;

	__u32 payload = bpf_ntohs(ip.payload_len);

	if (!set_end(c, p, start, sizeof(ip) + payload, !payload, quoted))
		return SLUICE_REASON_TRUNCATED;
	p->l4 = start + sizeof(ip);
	return walk_extensions(c, p);
}

/* Returns the size of the transport header without options; 0 = a protocol without ports. */
static __always_inline __u32 l4_header_size(__u8 protocol, bool v6)
{
	if (protocol == IPPROTO_TCP)
		return TCP_HEADER_MIN;
	if (protocol == IPPROTO_UDP)
		return UDP_HEADER;
	if (protocol == IPPROTO_SCTP)
		return SCTP_HEADER;
	return is_icmp(protocol, v6) ? ICMP_HEADER : 0;
}

/* A quoted packet may have only eight bytes (RFC 792), which is enough. */
static __always_inline __u32 parse_l4(const struct context *c, struct packet *p, bool v6,
				      bool quoted)
{
	struct {
		struct l4_ports ports;
		__be16 identifier; /* ICMP */
		__be16 rest;
	} start;
	__u32 size = l4_header_size(p->protocol, v6);

	if (!size) {
		p->prefixlen = SLUICE_PREFIX_PROTOCOL;
		return SLUICE_GO_ON;
	}
	if (p->l4 + (quoted ? sizeof(start) : size) > p->end)
		return cut_short(p);
	if (bpf_skb_load_bytes(c->skb, p->l4, &start, sizeof(start)))
		return cut_short(p);
	p->prefixlen = SLUICE_PREFIX_PORT;
	p->sport = start.ports.source;
	p->dport = start.ports.destination;
	if (is_icmp(p->protocol, v6)) {
		p->dport = start.ports.source;
		p->sport = is_echo(p->dport, v6) ? start.identifier : 0;
	} else if (p->protocol == IPPROTO_TCP && !quoted) {
		__u8 offset_flags[2];

		if (bpf_skb_load_bytes(c->skb, p->l4 + offsetof(struct tcp_header, offset),
				       offset_flags, sizeof(offset_flags)))
			return cut_short(p);
		if (offset_flags[0] < 0x50)
			return SLUICE_REASON_BAD_HEADER;
		p->tcp_flags = offset_flags[1];
	}
	return SLUICE_GO_ON;
}

/* The careful path. `start`: offset of the IP header. */
static __always_inline __u32 parse_carefully(const struct context *c, struct packet *p, __u32 start,
					     bool v6, bool quoted)
{
	__builtin_memset(p, 0, sizeof(*p));
	__u32 reason = v6 ? parse6_header(c, p, start, quoted) : parse4_header(c, p, start, quoted);

	if (reason != SLUICE_GO_ON || p->fragment == FRAGMENT_LATER)
		return reason;
	return parse_l4(c, p, v6, quoted);
}

/* Fills c->packet if it is a common one. */
static __always_inline bool parse_in_place(struct context *c, bool v6)
{
	const void *data = (const void *)(long)c->skb->data;
	const void *data_end = (const void *)(long)c->skb->data_end;

	return v6 ? parse6_in_place(c, data, data_end) : parse4_in_place(c, data, data_end);
}
