/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "sluice/abi.h"

/*
 * Between two runs of a program under test: another packet, or another epoch.
 * The benchmark subtracts what the same program costs in front of one that
 * does nothing. Frames are Ethernet, an IP header of `ip_header` bytes, ports.
 */

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define FLOWS 64000
#define PORTS 1000

const volatile __u32 address_end = 34; /* behind the address to be changed */
const volatile __u32 port_at = 34;     /* the port to be changed */

/* The datapath's own map. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct sluice_state);
} state SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u32);
} target SEC(".maps");

/* As large as the datapath's. */
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 1024);
  __type(key, struct sluice_conntrack4_key);
  __type(value, struct sluice_conntrack);
} flows SEC(".maps");

/* The datapath's own map. */
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, SLUICE_QUESTIONS_MAX);
  __type(key, struct sluice_question_key);
  __type(value, struct sluice_question);
} questions SEC(".maps");

/* An element of `questions`. */
__u8 asked_key[sizeof(struct sluice_question_key)] = {};
__u8 asked[sizeof(struct sluice_question)] = {};
__u32 flow_number = 0;

static __always_inline int send_as(struct __sk_buff* skb, __u32 flow) {
  void* data = (void*)(long)skb->data;
  void* data_end = (void*)(long)skb->data_end;
  __be16 host = bpf_htons(0x100 + flow / PORTS); /* nobody's own address */
  __be16 port = bpf_htons(1024 + flow % PORTS);

  if (data + 74 > data_end || address_end > 64 || address_end < 2 ||
      port_at > 64) {
    return TC_ACT_SHOT;
  }
  *(__be16*)(data + address_end - 2) = host;
  *(__be16*)(data + port_at) = port;
  bpf_tail_call(skb, &target, 0);
  return TC_ACT_SHOT;
}

/* One of the flows, at random. */
SEC("tc")
int random_flow(struct __sk_buff* skb) {
  return send_as(skb, bpf_get_prandom_u32() % FLOWS);
}

/* A flow that has not been for the longest time. */
SEC("tc")
int next_flow(struct __sk_buff* skb) {
  flow_number += 1;
  return send_as(skb, flow_number % (PORTS << 16));
}

/* What the kernel takes for the one thing that every new flow needs. */
SEC("tc")
int insert_flow(struct __sk_buff* skb) {
  struct sluice_conntrack4_key key = {.ifindex = skb->ifindex};
  struct sluice_conntrack flow = {.epoch = 1};

  flow_number += 1;
  key.remote = bpf_htonl(flow_number / PORTS);
  key.local_port = bpf_htons(flow_number % PORTS);
  bpf_map_update_elem(&flows, &key, &flow, BPF_ANY);
  return TC_ACT_UNSPEC;
}

/* The same answer to a question that has been asked again. */
SEC("tc")
int next_question(struct __sk_buff* skb) {
  struct sluice_question_key key;
  struct sluice_question question;

  __builtin_memcpy(&key, asked_key, sizeof(key));
  __builtin_memcpy(&question, asked, sizeof(question));
  question.asked = bpf_ktime_get_ns() / 1000000000;
  bpf_map_update_elem(&questions, &key, &question, BPF_ANY);
  bpf_tail_call(skb, &target, 0);
  return TC_ACT_SHOT;
}

/* The same packet under an epoch of its own, of the same generation. */
SEC("tc")
int next_epoch(struct __sk_buff* skb) {
  __u32 zero = 0;
  struct sluice_state* s = bpf_map_lookup_elem(&state, &zero);

  if (s) {
    s->epoch += 2;
  }
  bpf_tail_call(skb, &target, 0);
  return TC_ACT_SHOT;
}
