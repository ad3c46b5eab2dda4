/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Everything that crosses the boundary between the kernel and user space: map keys and values,
 * reasons, constants. Compiles as C for BPF and as C++.
 *
 * Generations. Everything that a change may alter is stored twice, once for each value of the
 * epoch's lowest bit. A program reads the epoch once, uses the slot `epoch & 1` of everything it
 * looks up and stores that epoch with the verdict. User space fills the other slot, adds one to the
 * epoch (the one write that makes the whole transaction take effect) and, after a grace period,
 * updates the first slot. See ARCHITECTURE.md, "Life of a change".
 *
 * Byte order: addresses and ports are in network order and typed __be16/__be32 or held as bytes;
 * everything else is in host order.
 */
#ifndef SLUICE_ABI_H
#define SLUICE_ABI_H

#include <linux/bpf.h>
#include <linux/types.h>

#ifdef __cplusplus
#define SLUICE_ASSERT(cond, text) static_assert(cond, text)
#else
#define SLUICE_ASSERT(cond, text) _Static_assert(cond, text)
#endif

/* Increased when a layout below changes; part of the pin path. */
#define SLUICE_ABI_VERSION 4
#define SLUICE_ABI_VERSION_DIR "v4"

/* ---- directions, verdicts, jumps -------------------------------------- */

/* Directions as seen from the endpoint, which is the subject of policy. */
enum sluice_direction {
	SLUICE_INGRESS = 0, /* to the pod: clsact egress of the host-side veth */
	SLUICE_EGRESS = 1,  /* from the pod: clsact ingress of the host-side veth */
};

enum sluice_verdict {
	SLUICE_VERDICT_NONE = 0,
	SLUICE_VERDICT_ALLOW = 1,
	SLUICE_VERDICT_DENY = 2,
};

/*
 * Slots of the program array `jumps`; sluice_policy_value.jump is NONE or LOG, the
 * programs themselves jump to the others.
 */
enum sluice_jump {
	SLUICE_JUMP_NONE = 0,
	SLUICE_JUMP_LOG = 1,   /* emit a flow event although new flows are not reported */
	SLUICE_JUMP_RESET = 2, /* answer a TCP segment with a reset */
	/* Judge a packet that is not a common one; SLUICE_JUMP_UNCOMMON(direction, v6). */
	SLUICE_JUMP_UNCOMMON_FIRST = 3,
	SLUICE_JUMP_UNCOMMON_LAST = 6,
	/* Judges IPv6 packets from the pod that may be messages of the link. */
	SLUICE_JUMP_LINK_FROM_POD = 7,
	/* Reads a DNS message to the pod, and learns the addresses of names. */
	SLUICE_JUMP_DNS_ANSWER = 8,
	/* Reads a DNS message from the pod, on a flow on which not every name may be asked for. */
	SLUICE_JUMP_DNS_QUESTION = 9,
	/* Judge a packet that a rule for names may allow; SLUICE_JUMP_NAMES(direction, v6). */
	SLUICE_JUMP_NAMES_FIRST = 10,
	SLUICE_JUMP_NAMES_LAST = 13,
	SLUICE_JUMP_MAX = 16,
};
#define SLUICE_JUMP_UNCOMMON(direction, v6)                                                        \
	((__u32)SLUICE_JUMP_UNCOMMON_FIRST + (__u32)(direction) + ((v6) ? 2U : 0U))
#define SLUICE_JUMP_NAMES(direction, v6)                                                           \
	((__u32)SLUICE_JUMP_NAMES_FIRST + (__u32)(direction) + ((v6) ? 2U : 0U))

/* ---- rule ids ----------------------------------------------------------- */

/* Ids below SLUICE_RULE_FIRST are the built-in rules; the translator assigns the others. */
enum sluice_builtin_rule {
	SLUICE_RULE_NONE = 0,
	SLUICE_RULE_DEFAULT_DENY_INGRESS = 1,
	SLUICE_RULE_DEFAULT_DENY_EGRESS = 2,
	SLUICE_RULE_DEFAULT_ALLOW = 3, /* no policy isolates the endpoint in this direction */
	SLUICE_RULE_LOCAL_NODE = 4,    /* the network stack of the pod's own node reaches it */
	SLUICE_RULE_SELF = 5,	       /* a pod reaches itself */
	SLUICE_RULE_FIRST = 16,
};

/* ---- ways out of the program -------------------------------------------- */

/*
 * X(NAME, verdict, "text"): one reason for every exit of the programs, counted per CPU and
 * direction in the map `reasons`. Users see the text.
 */
#define SLUICE_REASONS(X)                                                                          \
	X(ESTABLISHED, ALLOW, "established")                                                       \
	X(REPLY, ALLOW, "reply")                                                                   \
	X(POLICY_ALLOW, ALLOW, "policy allow")                                                     \
	X(DEFAULT_ALLOW, ALLOW, "default allow")                                                   \
	X(LOCAL_NODE, ALLOW, "local node")                                                         \
	X(SELF, ALLOW, "self")                                                                     \
	X(RELATED, ALLOW, "related icmp error")                                                    \
	X(ADOPTED, ALLOW, "reply of a flow older than enforcement")                                \
	X(ARP, ALLOW, "arp")                                                                       \
	X(NEIGHBOUR_DISCOVERY, ALLOW, "neighbour discovery")                                       \
	X(MULTICAST_LISTENER, ALLOW, "multicast listener discovery")                               \
	X(RESET, ALLOW, "reset of a flow that is denied")                                          \
	X(DNS_LEARNED, ALLOW, "dns answer, addresses learned")                                     \
	X(DNS_UNLEARNED, ALLOW, "dns answer, nothing learned")                                     \
	X(NOT_AN_ENDPOINT, ALLOW, "not an endpoint")                                               \
	X(UNPARSED_ALLOW, ALLOW, "not parsed, not isolated")                                       \
	X(POLICY_DENY, DENY, "policy deny")                                                        \
	X(DEFAULT_DENY, DENY, "default deny")                                                      \
	X(SOURCE_ADDRESS, DENY, "source address not the pod's")                                    \
	X(ROUTER_MESSAGE, DENY, "router's message from a pod")                                     \
	X(TRUNCATED, DENY, "truncated packet")                                                     \
	X(BAD_HEADER, DENY, "malformed header")                                                    \
	X(EXTENSION_HEADERS, DENY, "too many extension headers")                                   \
	X(FRAGMENT_UNKNOWN, DENY, "fragment without first fragment")                               \
	X(FRAGMENT_TINY, DENY, "fragment too small for its header")                                \
	X(ICMP_UNRELATED, DENY, "icmp error of an unknown flow")                                   \
	X(ETHERTYPE, DENY, "unknown ethertype")                                                    \
	X(TUNNEL, DENY, "tunnel from a pod to a node")                                             \
	X(REPLY_OF_DENIED, DENY, "reply of a flow that is denied")                                 \
	X(DNS_HELD, DENY, "dns message held for the agent")                                        \
	X(DNS_REFUSED, DENY, "dns question not allowed")                                           \
	X(INTERNAL, DENY, "internal error")

enum sluice_reason {
#define SLUICE_X(name, verdict, text) SLUICE_REASON_##name,
	SLUICE_REASONS(SLUICE_X)
#undef SLUICE_X
		SLUICE_REASON_COUNT
};

/* Index into `reasons` (per-CPU array of struct sluice_counter). */
#define SLUICE_REASON_SLOT(reason, direction) ((reason) * 2 + (direction))
#define SLUICE_REASON_SLOTS (SLUICE_REASON_COUNT * 2)

struct sluice_counter {
	__u64 packets;
	__u64 bytes; /* skb length, with the Ethernet header */
};

/* ---- state: one element, mapped into user space -------------------------- */

enum sluice_on_policy_change {
	SLUICE_CHANGE_REEVALUATE = 0, /* look the policy up again at the next packet */
	SLUICE_CHANGE_CONTINUE = 1,   /* established flows keep their verdict */
	SLUICE_CHANGE_RESET = 2,      /* as REEVALUATE, and denied TCP flows are reset */
};

/* What a pod gets for a DNS question that its policy does not allow. */
enum sluice_dns_reject {
	SLUICE_REJECT_REFUSED = 0,    /* UDP: RCODE 5 (REFUSED, RFC 1035, 4.1.1); TCP: a reset */
	SLUICE_REJECT_NAME_ERROR = 1, /* UDP: RCODE 3 (the name does not exist); TCP: a reset */
	SLUICE_REJECT_DROP = 2,	      /* nothing */
};

struct sluice_state {
	__u32 epoch;		 /* lowest bit: generation in force. Written alone, atomically. */
	__u32 on_policy_change;	 /* enum sluice_on_policy_change */
	__u32 events_new_flows;	 /* 1: an event for every new flow that is allowed */
	__u32 events_per_second; /* per CPU; events beyond it are counted in event_budget.lost */
	__u64 flow_seed;	 /* of the flow cache's hash; random, set once */
	__u32 reset_mark;	 /* skb->mark of resets made here; random, set once, never 0 */
	/*
	 * skb->mark of DNS messages that the agent has held and sends on; likewise, and even. With
	 * the lowest bit set: the agent has learned what there is to learn.
	 */
	__u32 dns_mark;
	__u64 name_key[2];  /* of the hashes of names; random, set once */
	__u32 name_ttl_min; /* seconds: an address is learned for this time at least */
	__u32 name_grace;   /* seconds, added to each answer's TTL */
	__u32 dns_reject;   /* enum sluice_dns_reject */
	__u32 reserved;
};
SLUICE_ASSERT(sizeof(struct sluice_state) == 64, "state size");

/* ---- endpoints ------------------------------------------------------------ */

/*
 * Array `endpoints`, mapped into user space: index = ifindex of the host-side veth if that is below
 * SLUICE_ENDPOINTS_DIRECT; for larger ones the hash `ep_overflow` (ifindex -> index) names one of
 * the other elements.
 */
#define SLUICE_ENDPOINTS_DIRECT 8192
#define SLUICE_ENDPOINTS_OVERFLOW 1024
#define SLUICE_ENDPOINTS_MAX (SLUICE_ENDPOINTS_DIRECT + SLUICE_ENDPOINTS_OVERFLOW)

enum sluice_endpoint_flag {
	SLUICE_EP_MANAGED = 1 << 0, /* the record is in use */
	SLUICE_EP_ISOLATED_INGRESS = 1 << 1,
	SLUICE_EP_ISOLATED_EGRESS = 1 << 2,
	/* Which of the two lookups can find an entry; a clear bit saves the lookup. */
	SLUICE_EP_CLASS_INGRESS = 1 << 3, /* entries with a cidr_id in that direction */
	SLUICE_EP_CLASS_EGRESS = 1 << 4,
	SLUICE_EP_ANY_INGRESS = 1 << 5, /* entries with cidr_id 0 */
	SLUICE_EP_ANY_EGRESS = 1 << 6,
	/* Permissions that only an administrator of the cluster may grant. */
	SLUICE_EP_ANY_ETHERTYPE = 1 << 7, /* the pod may send tagged frames and other protocols */
	SLUICE_EP_TUNNELS = 1 << 8,	  /* the pod may send to the nodes' tunnel ports */
	SLUICE_EP_ANY_NEIGHBOUR = 1 << 9, /* ARP and neighbour discovery for any address */
};
#define SLUICE_EP_ISOLATED(direction) (SLUICE_EP_ISOLATED_INGRESS << (direction))
#define SLUICE_EP_CLASS(direction) (SLUICE_EP_CLASS_INGRESS << (direction))
#define SLUICE_EP_ANY(direction) (SLUICE_EP_ANY_INGRESS << (direction))

/* An endpoint's policy in one generation; eight bytes, stored by one write. */
struct sluice_endpoint_policy {
	__u32 policy_id; /* 0 = no policy set */
	__u32 flags;	 /* enum sluice_endpoint_flag */
};

/* Kubernetes gives a pod at most one address of each family; 0 = none. */
struct sluice_endpoint {
	struct sluice_endpoint_policy gen[2];
	__be32 ipv4;
	/*
	 * Low 32 bits of jiffies, 0 = never. Until then, a TCP segment in the middle of an unknown
	 * flow may be the reply of a flow that is older than the record.
	 */
	__u32 adopt_until;
	__u8 ipv6[16];
	/* Prefix length of the subnet that the pod shares with a bridge; 128: the pod is routed. */
	__u8 on_link6;
	__u8 reserved[7];
	/*
	 * Bounds of what the endpoint can do to others by DNS. It can have SLUICE_QUESTIONS_NOTED
	 * more elements of `questions` in each period, without those that are answered in it; what
	 * it asks beyond that is not noted. SLUICE_HELD messages can wait for the agent at a time.
	 */
	__u32 questions_since; /* seconds of CLOCK_MONOTONIC: the beginning of the period */
	__s32 questions;
	__u32 held;	 /* messages, written by the programs */
	__u32 held_done; /* of these, written by the agent */
};
SLUICE_ASSERT(sizeof(struct sluice_endpoint) == 64, "endpoint size");
#define SLUICE_QUESTIONS_NOTED 1024
#define SLUICE_QUESTIONS_PERIOD 5 /* seconds */
#define SLUICE_HELD 128

/* ---- peers ---------------------------------------------------------------- */

/*
 * A peer class. 0 = any peer. The two top bits are part of the class: entries of such a class have
 * them in their key. NODE marks the addresses of nodes, this one and others. LOCAL_NODE marks the
 * node's own: a packet from one of them that the node only forwards has been masqueraded, or is
 * forged. If the other bits are 0, no entry depends on more than the mark.
 */
#define SLUICE_CIDR_ANY 0u
#define SLUICE_CIDR_LOCAL_NODE 0x80000000u
#define SLUICE_CIDR_NODE 0x40000000u
/*
 * Not a class, but a selector of DNS names, whose entries are looked up for the addresses that an
 * endpoint has learned for these names.
 */
#define SLUICE_CIDR_NAME 0x20000000u
/* With SLUICE_CIDR_NAME: the selector counts only for answers of `resolvers`. */
#define SLUICE_CIDR_NAME_RESOLVERS 0x10000000u

/*
 * Hashes `peers4`, `peers6`: exact addresses. Key: __be32 or 16 bytes. An address in the hash hides
 * all its enclosing prefixes, also with class 0.
 */
struct sluice_peer {
	__u32 cidr_id[2]; /* by generation; 0: only entries of any peer match */
	__u32 reserved;
	struct bpf_spin_lock lock; /* lets BPF_F_LOCK update in place; programs only read */
};
SLUICE_ASSERT(sizeof(struct sluice_peer) == 16, "peer size");

/* LPM tries `prefixes4`, `prefixes6`: looked up if the address is not in the hash. */
struct sluice_prefix4 {
	__u32 prefixlen;
	__u8 addr[4];
};
struct sluice_prefix6 {
	__u32 prefixlen;
	__u8 addr[16];
};
/*
 * By generation. Only the longest prefix decides: in a generation in which it does not exist, its
 * slot must hold the class of the next shorter prefix in that generation, 0 if there is none.
 */
struct sluice_prefix_value {
	__u32 cidr_id[2];
};

/* ---- policy ---------------------------------------------------------------- */

/*
 * LPM trie `policy`. prefixlen counts the bits of the 12 bytes that follow it:
 * 96 = exact port, 80+n = n-bit port prefix, 80 = any port of the protocol,
 * 72 = any protocol. ICMP: port = type << 8 | code.
 */
struct sluice_policy_key {
	__u32 prefixlen;
	__u32 policy_id;
	__u32 cidr_id;
	__u8 direction; /* enum sluice_direction */
	__u8 protocol;	/* IPPROTO_* */
	__be16 port;	/* destination port */
};
SLUICE_ASSERT(sizeof(struct sluice_policy_key) == 16, "policy key size");

#define SLUICE_PREFIX_ANY 72
#define SLUICE_PREFIX_PROTOCOL 80
#define SLUICE_PREFIX_PORT 96

/*
 * `flags` at egress; see "names". Of an entry that denies: the levels of rules for names that come
 * before it. Of an entry of a selector of names: the levels of its rules; it decides if the two
 * have a level in common. Of another entry that allows: the number of the list of names for which
 * its peers may be asked by DNS, SLUICE_DNS_ANY, or 0 if they are not known to be DNS servers.
 */
struct sluice_policy_value {
	__u8 verdict; /* enum sluice_verdict */
	__u8 flags;
	__u16 jump; /* enum sluice_jump */
	__u32 rule;
};
SLUICE_ASSERT(sizeof(struct sluice_policy_value) == 8, "policy value size");

/*
 * The policy id's lowest bit is the set's generation bit: a changed set is written in full under
 * the other value.
 */
#define SLUICE_POLICY_ID(set, bit) ((__u32)(set) << 1 | ((bit) & 1))
#define SLUICE_POLICY_SET(policy_id) ((policy_id) >> 1)

/*
 * In place of a direction in the key of an entry that allows DNS questions: `protocol` is the
 * number of the list, `cidr_id` a selector of names, prefixlen SLUICE_PREFIX_PROTOCOL.
 */
#define SLUICE_QUESTION 2
#define SLUICE_DNS_ANY 255 /* the list of all names, which has no entries */

/* ---- conntrack -------------------------------------------------------------- */

/*
 * LRU hashes `conntrack4`, `conntrack6`. One key for both directions: the endpoint's own side and
 * the remote side. The endpoint's address is not in the key because it has at most one of each
 * family; packets to any other address are judged without state. ICMP echo: local_port =
 * identifier, remote_port = 0 if the endpoint sent the request, 1 (network order) if the remote end
 * did.
 */
struct sluice_conntrack4_key {
	__u32 ifindex;
	__be32 remote;
	__be16 local_port;
	__be16 remote_port;
	__u8 protocol;
	__u8 pad[3];
};
SLUICE_ASSERT(sizeof(struct sluice_conntrack4_key) == 16, "conntrack4 key size");

struct sluice_conntrack6_key {
	__u32 ifindex;
	__u8 remote[16];
	__be16 local_port;
	__be16 remote_port;
	__u8 protocol;
	__u8 pad[3];
};
SLUICE_ASSERT(sizeof(struct sluice_conntrack6_key) == 28, "conntrack6 key size");

enum sluice_conntrack_state {
	SLUICE_CT_REPLIED = 1 << 0,
	SLUICE_CT_FIN_INGRESS = 1 << 1, /* shifted by direction */
	SLUICE_CT_FIN_EGRESS = 1 << 2,
	SLUICE_CT_RESET = 1 << 3,
	/* For a flow to the pod: the opener, if the source address does not identify it. */
	SLUICE_CT_FROM_NODE = 1 << 4,	/* the network stack of the pod's own node */
	SLUICE_CT_MASQUERADED = 1 << 5, /* the source is in `origins4` or `origins6` */
	SLUICE_CT_UNTRACED = 1 << 6,	/* unknown: only rules for any peer allow it */
};

struct sluice_conntrack {
	__u32 epoch;	 /* of the decision */
	__u32 last_seen; /* low 32 bits of jiffies */
	__u32 rule;
	__u8 opened_by; /* enum sluice_direction */
	__u8 state;	/* enum sluice_conntrack_state */
	__u8 reason;	/* enum sluice_reason of the decision */
	__u8 dns;	/* the list of names that may be asked for, SLUICE_DNS_ANY, or 0: no DNS */
	__u64 packets[2]; /* by direction */
	__u64 bytes[2];
	/*
	 * TCP, by direction: the next expected sequence number minus the low 32 bits of `bytes`;
	 * 0: unknown. `bytes` includes headers, so the sum is too large until the next segment
	 * that reaches conntrack.
	 */
	__u32 sequence[2];
	__u32 name; /* the selector of names by which the flow was allowed, or 0 */
	__u32 reserved;
};
SLUICE_ASSERT(sizeof(struct sluice_conntrack) == 64, "conntrack size");

/*
 * LRU hashes `origins4`, `origins6`, keyed as conntrack: the source that a
 * masqueraded flow had before the node translated it.
 */
struct sluice_origin {
	__u8 address[16]; /* IPv4: the first four bytes */
};
SLUICE_ASSERT(sizeof(struct sluice_origin) == 16, "origin size");

/* ---- flow cache ------------------------------------------------------------- */

/*
 * Array `flow_cache`, mapped into user space: flows that a program has found in conntrack and
 * allowed within the last second, so that the next packet finds them in one cache line. Conntrack
 * is authoritative: a slot is valid for one second and one epoch; then conntrack is looked up again
 * and receives the counts. A flow may be in slot n or n ^ 1.
 *
 * CPUs write slots without locks. `tag` is a hash of the whole key and the epoch, written last and
 * in one store. A slot matches only if tag and key both are the packet's, so a slot torn by two
 * concurrent writers never matches.
 */
#define SLUICE_FLOW_CACHE_BITS 17
#define SLUICE_FLOW_CACHE_SLOTS (1u << SLUICE_FLOW_CACHE_BITS)

struct sluice_flow_key {
	__u32 ifindex;
	__be32 remote[4]; /* IPv4: the first, the others 0 */
	__be16 local_port;
	__be16 remote_port;
	__u8 protocol;
	__u8 ip_version; /* 4, 6; 0 = the slot has never been used */
	__u8 opened_by;	 /* not part of the key, like the following fields */
	__u8 state;	 /* enum sluice_conntrack_state */
};
SLUICE_ASSERT(sizeof(struct sluice_flow_key) == 28, "flow key size");

struct sluice_flow_slot {
	__u64 tag;
	struct sluice_flow_key flow;
	__u32 since; /* low 32 bits of jiffies: the last lookup in conntrack */
	__u32 rule;
	__u32 reason;	  /* enum sluice_reason of the decision */
	__u32 packets[2]; /* since then, by direction */
	__u32 bytes[2];
};
SLUICE_ASSERT(sizeof(struct sluice_flow_slot) == 64, "flow slot size");

/*
 * Array `flow_hints`, mapped into user space: a byte of the hash of every slot's flow, so that a
 * new flow, which is in no slot, need not wait for the memory of two slots. Element n has the hints
 * of slots 8 n to 8 n + 7. A wrong hint only costs the lookup of a slot, or of conntrack.
 */
struct sluice_flow_hints {
	__u8 hint[8];
};
SLUICE_ASSERT(sizeof(struct sluice_flow_hints) == 8, "flow hints size");
#define SLUICE_FLOW_HINTS_ELEMENTS (SLUICE_FLOW_CACHE_SLOTS / 8)

/* ---- fragments ---------------------------------------------------------------- */

/* LRU hashes `fragments4`, `fragments6`: ports of a datagram whose first fragment has passed. */
struct sluice_fragment4_key {
	__u32 ifindex;
	__be32 saddr;
	__be32 daddr;
	__be16 id;
	__u8 protocol;
	__u8 direction;
};
struct sluice_fragment6_key {
	__u32 ifindex;
	__u8 saddr[16];
	__u8 daddr[16];
	__be32 id;
	__u8 protocol;
	__u8 direction;
	__u8 pad[2];
};
struct sluice_fragment {
	__be16 sport;
	__be16 dport;
	__u8 protocol; /* IPv6: after further extension headers */
	__u8 pad[3];
};
SLUICE_ASSERT(sizeof(struct sluice_fragment4_key) == 16, "fragment4 key size");
SLUICE_ASSERT(sizeof(struct sluice_fragment6_key) == 44, "fragment6 key size");
SLUICE_ASSERT(sizeof(struct sluice_fragment) == 8, "fragment size");

/* ---- names -------------------------------------------------------------------- */

/*
 * A pod's DNS answers give it addresses for names; see ARCHITECTURE.md, "Names". A selector is an
 * id for a pattern of names, with SLUICE_CIDR_NAME and without the marks of nodes. RFC 8767, 4:
 * nobody should trust an answer for longer than seven days.
 */
#define SLUICE_NAME_TTL_MAX 604800 /* seconds */

/*
 * LRU hash `names`: the selectors that match a name. Only the agent writes it. A name that is not
 * there has not been compared with the selectors yet.
 */
struct sluice_name_key {
	__u64 hash[2]; /* SipHash-1-3 of the name in wire form, in lower case; state.name_key */
};
#define SLUICE_NAME_SELECTORS 8
struct sluice_name {
	__u32 selector[SLUICE_NAME_SELECTORS]; /* sorted; 0: no more */
	__u8 wire[256];			       /* in lower case, then zeros */
};

/*
 * Hash of maps `learned`, by the ifindex of an endpoint: what the endpoint has learned, an LRU
 * hash. Only endpoints whose policy has rules for names have one.
 */
struct sluice_learned_key {
	__u8 address[16]; /* IPv4 as ::ffff:a.b.c.d */
};
struct sluice_learned_slot {
	__u32 selector; /* 0: free */
	__u32 expires;	/* seconds of CLOCK_MONOTONIC; written together with the selector */
};
struct sluice_learned {
	struct sluice_learned_slot slot[SLUICE_NAME_SELECTORS];
};
SLUICE_ASSERT(sizeof(struct sluice_learned) == 64, "learned size");

/* Hash `resolvers`: DNS servers whose answers count even if no policy speaks of DNS. */
#define SLUICE_RESOLVERS_MAX 1024
struct sluice_resolver_key {
	__u8 address[16]; /* IPv4 as ::ffff:a.b.c.d */
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

enum sluice_stream {
	SLUICE_STREAM_NONE = 0, /* a question */
	/*
	 * No question, but how far the messages of one direction of a TCP connection have been
	 * followed; see bpf/dns_stream.bpf.h.
	 */
	SLUICE_STREAM_ANSWERS = 1,
	SLUICE_STREAM_QUESTIONS = 2,
};
/*
 * LRU hash `questions`: what pods have asked their DNS servers lately. An answer counts only if it
 * has the id and the name of a question, which is then removed.
 */
struct sluice_question_key {
	__u32 ifindex;
	__u8 remote[16]; /* IPv4 as ::ffff:a.b.c.d */
	__be16 local_port;
	__be16 remote_port;
	__u16 id;
	__u8 protocol;
	__u8 stream; /* enum sluice_stream; with id 0 */
};
SLUICE_ASSERT(sizeof(struct sluice_question_key) == 28, "question key size");
struct sluice_question {
	struct sluice_name_key name;
	__u32 asked; /* seconds of CLOCK_MONOTONIC */
	__u32 reserved;
};
#define SLUICE_QUESTIONS_MAX 32768
#define SLUICE_QUESTION_SECONDS 30 /* later answers do not count */

/*
 * In front of a DNS message in the ring buffer `dns_seen`, and of a frame in the perf buffer
 * `dns_held`. DNS_LEARNED, DNS_UNLEARNED: the pod has received the answer. DNS_HELD: it has not.
 */
enum sluice_dns_part {
	SLUICE_DNS_WHOLE = 0, /* a packet with whole messages, which the programs read afterwards */
	/* What only the agent can read, and learn from: */
	SLUICE_DNS_PART =
		1, /* a fragment, a part of a TCP stream, or a message that is too large */
	SLUICE_DNS_BEGINS = 2, /* likewise; a TCP segment at the beginning of a message */
	/* A TCP segment that is a question whose length has come before it, which the programs read
	 * afterwards. */
	SLUICE_DNS_BARE = 3,
};
struct sluice_dns_event {
	__u64 timestamp_ns; /* bpf_ktime_get_ns: CLOCK_MONOTONIC */
	__u32 ifindex;
	__u16 size;	/* bytes that follow */
	__u8 direction; /* enum sluice_direction */
	__u8 reason;	/* enum sluice_reason */
	__u32 endpoint; /* index of the record */
	__u16 segment; /* bytes of TCP payload with which a network card would cut it; 0: one packet
			*/
	__u8 resolver; /* 1: the answer is from one of `resolvers` */
	__u8 part;     /* enum sluice_dns_part */
};
SLUICE_ASSERT(sizeof(struct sluice_dns_event) == 24, "dns event size");

/* ---- flow events ----------------------------------------------------------------- */

/* Ring buffer `events`. */
struct sluice_flow_event {
	__u64 timestamp_ns; /* bpf_ktime_get_ns: CLOCK_MONOTONIC */
	__u32 ifindex;
	__u32 policy_id;
	__u32 cidr_id;
	__u32 rule;
	__u32 length; /* bytes, with the Ethernet header */
	__u8 family;  /* AF_INET, AF_INET6, 0 = neither */
	__u8 direction;
	__u8 verdict;
	__u8 reason;
	__u8 protocol;
	__u8 tcp_flags;
	__be16 ethertype;
	__be16 sport;
	__be16 dport;	/* ICMP: type << 8 | code */
	__u8 saddr[16]; /* IPv4: the first four bytes */
	__u8 daddr[16];
	__u8 origin[16]; /* the source before it was masqueraded; 0: it was not */
};
SLUICE_ASSERT(sizeof(struct sluice_flow_event) == 88, "flow event size");

/* Per-CPU array `event_budget`, one element. */
struct sluice_event_budget {
	__u64 window; /* jiffies at which the current second began */
	__u64 used;
	__u64 lost; /* events not sent: over budget, or the ring was full */
};

#endif /* SLUICE_ABI_H */
