/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The datapath's maps, one line each. Compiles as C for BPF and as C++:
 * bpf/maps.bpf.h declares the maps from this table, agent/map_table.h describes
 * them to user space. abi.h has the layouts of keys and values and says what
 * each map means.
 */
#ifndef SLUICE_MAPS_H
#define SLUICE_MAPS_H

#include "sluice/abi.h"

struct sluice_peer6_key {
  __u8 addr[16];
};
SLUICE_ASSERT(sizeof(struct sluice_peer6_key) == 16, "peer6 key size");

/*
 * X(Id, name, TYPE, flags, size, key, value, USE)
 *
 * Id       enumerator of sluice::agent::Map, without its k
 * name     in the kernel and in bpffs
 * TYPE     BPF_MAP_TYPE_*
 * size     number of elements: fixed(n), or option(member of
 *          sluice::agent::DatapathOptions)
 * USE      MAPPED    an array that user space maps into its memory
 *          APPLIED   elements that only the applier writes; it writes new
 *                    elements map by map in the order of this table, because an
 *                    address may refer to a class only if the entries of the
 *                    class exist
 *          FLOWS     an LRU hash that the programs fill, keyed by flow
 *          NAMES     elements that only the agent writes, beside transactions
 *          COUNTERS  per CPU, read by user space
 *          PRIVATE   only the programs know the key and the value
 *
 * RING(Id, name, size): a ring buffer; its size is in bytes.
 * PERF(Id, name): a perf event array; the agent makes a buffer for each CPU.
 * OUTER(Id, name, size, key, inner key, inner value): a hash of maps, whose
 * inner maps are LRU hashes that the agent makes.
 */
#define SLUICE_MAPS(X, RING, PERF, OUTER)                                      \
  X(State, state, ARRAY, BPF_F_MMAPABLE, fixed(1), __u32, struct sluice_state, \
    MAPPED)                                                                    \
  X(Endpoints, endpoints, ARRAY, BPF_F_MMAPABLE, fixed(SLUICE_ENDPOINTS_MAX),  \
    __u32, struct sluice_endpoint, MAPPED)                                     \
  X(Policy, policy, LPM_TRIE, BPF_F_NO_PREALLOC, option(policy_entries),       \
    struct sluice_policy_key, struct sluice_policy_value, APPLIED)             \
  X(Peers4, peers4, HASH, 0, option(peers), __be32, struct sluice_peer,        \
    APPLIED)                                                                   \
  X(Peers6, peers6, HASH, 0, option(peers), struct sluice_peer6_key,           \
    struct sluice_peer, APPLIED)                                               \
  X(Prefixes4, prefixes4, LPM_TRIE, BPF_F_NO_PREALLOC, option(prefixes),       \
    struct sluice_prefix4, struct sluice_prefix_value, APPLIED)                \
  X(Prefixes6, prefixes6, LPM_TRIE, BPF_F_NO_PREALLOC, option(prefixes),       \
    struct sluice_prefix6, struct sluice_prefix_value, APPLIED)                \
  X(EndpointOverflow, ep_overflow, HASH, 0, fixed(SLUICE_ENDPOINTS_OVERFLOW),  \
    __u32, __u32, APPLIED)                                                     \
  X(Conntrack4, conntrack4, LRU_HASH, 0, option(conntrack),                    \
    struct sluice_conntrack4_key, struct sluice_conntrack, FLOWS)              \
  X(Conntrack6, conntrack6, LRU_HASH, 0, option(conntrack),                    \
    struct sluice_conntrack6_key, struct sluice_conntrack, FLOWS)              \
  X(Origins4, origins4, LRU_HASH, 0, option(origins),                          \
    struct sluice_conntrack4_key, struct sluice_origin, FLOWS)                 \
  X(Origins6, origins6, LRU_HASH, 0, option(origins),                          \
    struct sluice_conntrack6_key, struct sluice_origin, FLOWS)                 \
  X(Fragments4, fragments4, LRU_HASH, 0, option(fragments),                    \
    struct sluice_fragment4_key, struct sluice_fragment, FLOWS)                \
  X(Fragments6, fragments6, LRU_HASH, 0, option(fragments),                    \
    struct sluice_fragment6_key, struct sluice_fragment, FLOWS)                \
  /* Mapped also because the kernel places such an array at the start of a     \
   * page. */                                                                  \
  X(FlowCache, flow_cache, ARRAY, BPF_F_MMAPABLE,                              \
    fixed(SLUICE_FLOW_CACHE_SLOTS), __u32, struct sluice_flow_slot, MAPPED)    \
  X(FlowHints, flow_hints, ARRAY, BPF_F_MMAPABLE,                              \
    fixed(SLUICE_FLOW_HINTS_ELEMENTS), __u32, struct sluice_flow_hints,        \
    MAPPED)                                                                    \
  X(Reasons, reasons, PERCPU_ARRAY, 0, fixed(SLUICE_REASON_SLOTS), __u32,      \
    struct sluice_counter, COUNTERS)                                           \
  X(EventBudget, event_budget, PERCPU_ARRAY, 0, fixed(1), __u32,               \
    struct sluice_event_budget, COUNTERS)                                      \
  RING(Events, events, option(event_bytes))                                    \
  X(Names, names, LRU_HASH, 0, option(names), struct sluice_name_key,          \
    struct sluice_name, NAMES)                                                 \
  X(Resolvers, resolvers, HASH, 0, fixed(SLUICE_RESOLVERS_MAX),                \
    struct sluice_resolver_key, __u32, NAMES)                                  \
  X(Questions, questions, LRU_HASH, 0, fixed(SLUICE_QUESTIONS_MAX),            \
    struct sluice_question_key, struct sluice_question, FLOWS)                 \
  OUTER(Learned, learned, fixed(SLUICE_ENDPOINTS_MAX), __u32,                  \
        struct sluice_learned_key, struct sluice_learned)                      \
  RING(DnsSeen, dns_seen, option(dns_bytes))                                   \
  PERF(DnsHeld, dns_held)                                                      \
  X(DnsReader, dns_reader, PERCPU_ARRAY, 0, fixed(1), __u32,                   \
    struct sluice_dns_reader, PRIVATE)                                         \
  X(Scratch, scratch, PERCPU_ARRAY, 0, fixed(1), __u32, struct sluice_scratch, \
    PRIVATE)                                                                   \
  X(Jumps, jumps, PROG_ARRAY, 0, fixed(SLUICE_JUMP_MAX), __u32, __u32, PRIVATE)

#endif /* SLUICE_MAPS_H */
