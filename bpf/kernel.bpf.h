/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include <stdbool.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

/*
 * Reads what the kernel's own connection tracking knows about a packet. The program's context is
 * the kernel's struct sk_buff, whose _nfct points to the packet's struct nf_conn; both are read
 * with bpf_probe_read_kernel at offsets that user space takes from the kernel's BTF
 * (agent/kernel_layout.h).
 */

/* Bytes into struct sk_buff and struct nf_conn. 0: this kernel does not describe them. */
const volatile __u32 sluice_nfct_offset = 0;
const volatile __u32 sluice_tuple_offset = 0;

/* struct nf_conntrack_tuple (include/net/netfilter/nf_conntrack_tuple.h) */
struct kernel_tuple {
	__be32 source[4];
	__be16 source_port; /* ICMP: identifier */
	__u16 family;
	__be32 destination[4];
	__be16 destination_port; /* ICMP: type, code */
	__u8 protocol;
	__u8 direction;
};
_Static_assert(sizeof(struct kernel_tuple) == 40, "as in the kernel");

/* include/linux/skbuff.h: the low bits of _nfct are enum ip_conntrack_info. */
#define NFCT_INFO_MASK 7ULL
#define NFCT_IS_REPLY 3

/*
 * Reads the addresses and ports that the packet's flow had before the node translated them. False
 * if the kernel does not track the packet, if its structures are unknown, or if the packet goes
 * against the direction in which the flow was opened.
 */
static __always_inline bool read_original_tuple(struct __sk_buff *skb, struct kernel_tuple *tuple)
{
	__u64 nfct = 0;

	if (!sluice_nfct_offset)
		return false;
	if (bpf_probe_read_kernel(&nfct, sizeof(nfct), (const void *)skb + sluice_nfct_offset))
		return false;
	if ((nfct & NFCT_INFO_MASK) >= NFCT_IS_REPLY || nfct <= NFCT_INFO_MASK)
		return false;
	nfct &= ~NFCT_INFO_MASK;
	return !bpf_probe_read_kernel(tuple, sizeof(*tuple),
				      (const void *)nfct + sluice_tuple_offset);
}
