/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

/*
 * The reader of DNS messages in the kernel: the packet is a message, behind an
 * Ethernet header that BPF_PROG_TEST_RUN wants. The result stays in the map
 * `reader`.
 */

#define DNS_NAME(m, at) ((__u32)dns_name(at))
int dns_name(__u32 at);

#include "../../bpf/dns_message.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define MESSAGE_AT 14

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct dns_message);
} reader SEC(".maps");

static __always_inline struct dns_message* the_reader(void) {
  const __u32 zero = 0;

  return bpf_map_lookup_elem(&reader, &zero);
}

/* Global functions: the verifier looks at each of them once. */
__attribute__((noinline)) int dns_hash_name(void) {
  struct dns_message* m = the_reader();

  if (m) {
    dns_hash(m);
  }
  return 0;
}

__attribute__((noinline)) int dns_name(__u32 at) {
  struct dns_message* m = the_reader();

  const int end = m ? (int)dns_copy_name(m, at) : 0;

  if (end) {
    dns_hash_name();
  }
  return end;
}

__attribute__((noinline)) int dns_record(void) {
  struct dns_message* m = the_reader();

  return m ? dns_next(m) : DNS_DAMAGED;
}

static __always_inline int load(struct __sk_buff* skb, struct dns_message* m) {
  __u32 length = skb->len - MESSAGE_AT;

  if (skb->len <= MESSAGE_AT) {
    return DNS_DAMAGED;
  }
  m->length = length;
  if (length > DNS_MESSAGE_MAX) {
    return DNS_TOO_LARGE;
  }
  /* The same number, in a form in which the verifier of 5.10 sees that it is 1
   * to 4096. */
  asm volatile("" : "+r"(length));
  length = ((length - 1) & (DNS_MESSAGE_MAX - 1)) + 1;
  return bpf_skb_load_bytes(skb, MESSAGE_AT, m->bytes, length) ? DNS_DAMAGED
                                                               : DNS_OK;
}

SEC("tc")
int read_message(struct __sk_buff* skb) {
  struct dns_message* m = the_reader();
  int status;

  if (!m) {
    return TC_ACT_SHOT;
  }
  m->names = 0;
  status = load(skb, m);
  if (status) {
    return status;
  }
  status = dns_open(m);
  for (__u32 i = 0; i < DNS_RECORDS_MAX && !status; i++) {
    if (!m->records) {
      break;
    }
    status = dns_record();
  }
  return status;
}

/* What the others cost: the message is copied and not read. */
SEC("tc")
int read_nothing(struct __sk_buff* skb) {
  struct dns_message* m = the_reader();

  return m ? load(skb, m) : TC_ACT_SHOT;
}
