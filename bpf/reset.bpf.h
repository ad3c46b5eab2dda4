/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include <linux/if_packet.h>
#include <linux/pkt_cls.h>

#include "context.bpf.h"
#include "maps.bpf.h"
#include "parse.bpf.h"

/*
 * Turns a denied TCP segment into a reset for its sender (RFC 9293, 3.10.7.1). This is done only if
 * nothing is between the IP and the TCP header; segments with IP options or extension headers are
 * dropped without an answer. If any step fails, the segment is dropped.
 */

struct reset4 {
	struct iphdr ip;
	struct tcp_header tcp;
};

struct reset6 {
	struct ipv6hdr ip;
	struct tcp_header tcp;
};

_Static_assert(sizeof(struct reset4) == 40 && sizeof(struct reset6) == 60, "no padding");

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static __always_inline __u64 sum_of(const void *data, __u32 size)
{
	return (__u32)bpf_csum_diff(NULL, 0, (__be32 *)data, size, 0);
}

/*
 * `length`: bytes of the segment from the start of the TCP header, by the length in the IP header.
 */
static __always_inline void turn_tcp(struct tcp_header *tcp, __u32 length)
{
	const struct tcp_header was = *tcp;
	__u32 header = (was.offset >> 4) * 4;
	__u32 occupied = length > header ? length - header : 0;

	occupied += !!(was.flags & TCP_SYN) + !!(was.flags & TCP_FIN);
	__builtin_memset(tcp, 0, sizeof(*tcp));
	tcp->source = was.destination;
	tcp->destination = was.source;
	tcp->offset = sizeof(*tcp) / 4 << 4;
	if (was.flags & TCP_ACK) {
		tcp->flags = TCP_RST;
		tcp->sequence = was.acknowledgement;
	} else {
		tcp->flags = TCP_RST | TCP_ACK;
		tcp->acknowledgement = bpf_htonl(bpf_ntohl(was.sequence) + occupied);
	}
}

/*
 * True if the sender has left the checksum to the hardware. Such a packet has the sum of the
 * pseudo-header in the checksum field, and the reset must have it, too. No field tells, but the
 * helper that updates checksums does not change such a packet. `at`: offset of the checksum, which
 * is 0 before and after the call.
 */
static __always_inline bool is_checksum_left(struct __sk_buff *skb, __u32 at)
{
	const __u16 zero = 0;
	__u16 now = 0;

	if (bpf_l4_csum_replace(skb, at, 0, 1, sizeof(now)) ||
	    bpf_skb_load_bytes(skb, at, &now, sizeof(now)) ||
	    bpf_skb_store_bytes(skb, at, &zero, sizeof(zero), 0))
		return false;
	return now == 0;
}

/* Stores the TCP header after the IP header. `pseudo`: sum of the pseudo-header. */
static __always_inline bool store_tcp(struct __sk_buff *skb, __u32 l4, const struct tcp_header *tcp,
				      __u64 pseudo)
{
	const __u32 at = l4 + offsetof(struct tcp_header, checksum);
	__u16 sum;

	if (bpf_skb_store_bytes(skb, l4, tcp, sizeof(*tcp), BPF_F_RECOMPUTE_CSUM))
		return false;
	sum = is_checksum_left(skb, at) ? fold(pseudo) : ~fold(pseudo + sum_of(tcp, sizeof(*tcp)));
	return !bpf_skb_store_bytes(skb, at, &sum, sizeof(sum), BPF_F_RECOMPUTE_CSUM);
}

static __always_inline bool turn4(struct __sk_buff *skb)
{
	struct {
		__be32 source;
		__be32 destination;
		__be16 protocol;
		__be16 length;
	} pseudo;
	struct reset4 packet;
	struct iphdr *ip = &packet.ip;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &packet, sizeof(packet)))
		return false;
	if (*(const __u8 *)ip != 0x45 || ip->protocol != IPPROTO_TCP)
		return false;
	turn_tcp(&packet.tcp, bpf_ntohs(ip->tot_len) - sizeof(*ip));
	pseudo.source = ip->daddr;
	pseudo.destination = ip->saddr;
	pseudo.protocol = bpf_htons(IPPROTO_TCP);
	pseudo.length = bpf_htons(sizeof(packet.tcp));
	__builtin_memset(ip, 0, sizeof(*ip));
	*(__u8 *)ip = 0x45;
	ip->tot_len = bpf_htons(sizeof(packet));
	ip->frag_off = bpf_htons(IPV4_DONT_FRAGMENT);
	ip->ttl = 64;
	ip->protocol = IPPROTO_TCP;
	ip->saddr = pseudo.source;
	ip->daddr = pseudo.destination;
	ip->check = ~fold(sum_of(ip, sizeof(*ip)));
	if (bpf_skb_change_tail(skb, ETH_HLEN + sizeof(packet), 0) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN, ip, sizeof(*ip), BPF_F_RECOMPUTE_CSUM))
		return false;
	return store_tcp(skb, ETH_HLEN + sizeof(*ip), &packet.tcp, sum_of(&pseudo, sizeof(pseudo)));
}

static __always_inline bool turn6(struct __sk_buff *skb)
{
	struct {
		__be32 source[4];
		__be32 destination[4];
		__be32 length;
		__be32 protocol;
	} pseudo;
	struct reset6 packet;
	struct ipv6hdr *ip = &packet.ip;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &packet, sizeof(packet)))
		return false;
	if (*(const __u8 *)ip >> 4 != 6 || ip->nexthdr != IPPROTO_TCP)
		return false;
	turn_tcp(&packet.tcp, bpf_ntohs(ip->payload_len));
	copy_words(pseudo.source, ip->daddr.in6_u.u6_addr32);
	copy_words(pseudo.destination, ip->saddr.in6_u.u6_addr32);
	pseudo.length = bpf_htonl(sizeof(packet.tcp));
	pseudo.protocol = bpf_htonl(IPPROTO_TCP);
	__builtin_memset(ip, 0, sizeof(*ip));
	*(__u8 *)ip = 0x60;
	ip->payload_len = bpf_htons(sizeof(packet.tcp));
	ip->nexthdr = IPPROTO_TCP;
	ip->hop_limit = 64;
	copy_words(ip->saddr.in6_u.u6_addr32, pseudo.source);
	copy_words(ip->daddr.in6_u.u6_addr32, pseudo.destination);
	if (bpf_skb_change_tail(skb, ETH_HLEN + sizeof(packet), 0) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN, ip, sizeof(*ip), BPF_F_RECOMPUTE_CSUM))
		return false;
	return store_tcp(skb, ETH_HLEN + sizeof(*ip), &packet.tcp, sum_of(&pseudo, sizeof(pseudo)));
}

/*
 * Sends the reset to the pod, bypassing the program on that path, which would drop it; or sends it
 * as if from the pod, with the mark by which the other program recognises it.
 */
static __always_inline int send_back(struct __sk_buff *skb, __u32 direction)
{
	__u32 zero = 0;
	const struct sluice_state *s = bpf_map_lookup_elem(&state, &zero);

	if (!s)
		return TC_ACT_SHOT;
	if (direction == SLUICE_EGRESS) {
		/* On a bridge, the segment was addressed to another host. */
		if (bpf_skb_change_type(skb, PACKET_HOST))
			return TC_ACT_SHOT;
		return bpf_redirect_peer(skb->ifindex, 0);
	}
	skb->mark = s->reset_mark;
	return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
}

/* Sends a packet that has been made into its own answer. `ethernet`: the header that it came with.
 */
static __always_inline int send_turned(struct __sk_buff *skb, const struct ethhdr *ethernet,
				       __u32 direction)
{
	struct ethhdr turned;

	__builtin_memcpy(turned.h_dest, ethernet->h_source, ETH_ALEN);
	__builtin_memcpy(turned.h_source, ethernet->h_dest, ETH_ALEN);
	turned.h_proto = ethernet->h_proto;
	/* The checksum computed by the hardware does not cover this header. */
	if (bpf_skb_store_bytes(skb, 0, &turned, sizeof(turned), 0))
		return TC_ACT_SHOT;
	return send_back(skb, direction);
}

static __always_inline int answer_with_reset(struct __sk_buff *skb, __u32 direction)
{
	struct ethhdr ethernet;

	if (bpf_skb_load_bytes(skb, 0, &ethernet, sizeof(ethernet)))
		return TC_ACT_SHOT;
	if (!(ethernet.h_proto == bpf_htons(ETH_P_IP)	  ? turn4(skb)
	      : ethernet.h_proto == bpf_htons(ETH_P_IPV6) ? turn6(skb)
							  : false))
		return TC_ACT_SHOT;
	return send_turned(skb, &ethernet, direction);
}
