/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include <linux/types.h>

/*
 * Reads a DNS message: its question and, of its answer section, the chain of CNAMEs that begins
 * with the question and the addresses (A, AAAA) of the names in this chain. One source for BPF
 * programs and for user space (C and C++).
 *
 * A result is complete or there is none: a message that is damaged in what is read, or that has
 * more than fits, gives no addresses at all. Records of other classes and types, or of names that
 * are not in the chain, are skipped. Authority and additional sections (EDNS) are not read.
 *
 * A name is known by a keyed hash of 128 bits (SipHash-1-3) of its wire form in lower case. Copies
 * of names would make keys of 256 bytes; and comparing them costs more than a record that is
 * compressed, whose owner is recognised by its offset without any look at the name. The key is
 * secret, so that nobody can make two names with the same hash.
 *
 * The message is in the reader's own buffer, to which the caller copies it. An index is kept inside
 * by a mask, which every verifier understands, and what is beyond the message's length is never
 * used.
 *
 * For a BPF program, DNS_NAME(m, at) must be a global function, because then the verifier of 5.10
 * looks at it once and not for every record; see tests/datapath/dns_message.bpf.c. The same holds
 * for the caller of dns_next().
 */

#ifndef DNS_MESSAGE_MAX
#define DNS_MESSAGE_MAX 4096u /* bytes, a power of two */
#endif
#ifndef DNS_RECORDS_MAX
#define DNS_RECORDS_MAX 128u /* of the answer section */
#endif
#define DNS_NAMES_MAX 16u    /* the question and its CNAMEs */
#define DNS_NAME_MAX 255u    /* of a name in wire form */
#define DNS_POINTERS_MAX 16u /* of one name; they have one or two */
/* For every name: at most 127 parts of labels of up to eight bytes, the pointers, the end. */
#define DNS_NAME_STEPS (127u + DNS_POINTERS_MAX + 1u)

#define DNS_HEADER 12u
#define DNS_RECORD 10u /* type, class, TTL, length of data */
#define DNS_FLAG_RESPONSE 0x8000u
#define DNS_FLAG_TRUNCATED 0x0200u
#define DNS_MASK_OPCODE 0x7800u
#define DNS_MASK_RCODE 0x000fu
#define DNS_TYPE_A 1u
#define DNS_TYPE_CNAME 5u
#define DNS_TYPE_AAAA 28u
#define DNS_CLASS_IN 1u

enum dns_status {
	DNS_OK = 0,
	DNS_DAMAGED = 1,  /* no DNS message, or one that breaks off or contradicts itself */
	DNS_UNUSUAL = 2,  /* no query or its response, or not one question */
	DNS_TOO_LARGE = 3 /* more bytes, records or CNAMEs than fit */
};

struct dns_name {
	__u64 hash[2];
};

struct dns_address {
	__u8 bytes[16]; /* IPv4: the first four; the others are 0 */
	__u32 ttl;	/* seconds, its own one */
	__u8 v6;
	__u8 names; /* the address is one of name[0] to name[names - 1] */
	__u16 unused;
};

struct dns_message {
	/* From the caller. */
	__u64 key[2];
	__u32 length;

	/* What dns_open() has read, and dns_next() has added. */
	__u32 at; /* the next record */
	__u16 id;
	__u16 flags; /* DNS_FLAG_, DNS_MASK_ */
	__u16 type;  /* of the question */
	__u16 qclass;
	__u16 records; /* that are left in the answer section */
	__u16 names;
	__u32 addresses;
	__u32 name_at[DNS_NAMES_MAX]; /* offsets at which the names in the chain stand */
	struct dns_name name[DNS_NAMES_MAX];
	struct dns_address address[DNS_RECORDS_MAX];

	/* The last name that was read: its hash, its size and its wire form in lower case. */
	struct dns_name read;
	__u32 read_size;
	/* Inside dns_copy_name(). */
	__u32 read_at, read_begin, read_left, read_pointers, read_end;
	__u8 wire[512 + 16];

	__u8 head[24]; /* for what the caller puts in front of the message */
	__u8 bytes[DNS_MESSAGE_MAX + 64];
};

#ifdef __bpf__
/* Unaligned accesses are allowed on the machines that Sluice supports. */
#define DNS_LOAD(p) (*(const __u64 *)(p))
#define DNS_STORE(p, word) (*(__u64 *)(p) = (word))
#else
static inline __u64 dns_load_word(const __u8 *p)
{
	__u64 word;

	__builtin_memcpy(&word, p, sizeof(word));
	return word;
}
#define DNS_LOAD(p) dns_load_word(p)
#define DNS_STORE(p, word)                                                                         \
	do {                                                                                       \
		const __u64 dns_word = (word);                                                     \
		__builtin_memcpy(p, &dns_word, sizeof(dns_word));                                  \
	} while (0)
#endif
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

#define DNS_FRESH(member) (*(volatile __u32 *)&(member))
#define DNS_BYTE(m, at) ((m)->bytes[(at) & (DNS_MESSAGE_MAX - 1)])

static __always_inline __u32 dns_u16(const struct dns_message *m, __u32 at)
{
	return (__u32)DNS_BYTE(m, at) << 8 | DNS_BYTE(m, at + 1);
}

/* Letters of eight bytes to lower case. A length byte of a label is less than any letter. */
static __always_inline __u64 dns_lower(__u64 word)
{
	const __u64 each = 0x0101010101010101ULL;
	const __u64 ascii = word & each * 0x7f;
	const __u64 from_a = ascii + each * (0x80 - 'A');
	const __u64 behind_z = ascii + each * (0x80 - 'Z' - 1);

	return word | (from_a & ~behind_z & ~word & each * 0x80) >> 2;
}

#define DNS_ROTATE(v, n) ((v) << (n) | (v) >> (64 - (n)))

struct dns_sip {
	__u64 v0, v1, v2, v3;
};

static __always_inline void dns_sip_round(struct dns_sip *s)
{
	s->v0 += s->v1;
	s->v1 = DNS_ROTATE(s->v1, 13) ^ s->v0;
	s->v0 = DNS_ROTATE(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = DNS_ROTATE(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = DNS_ROTATE(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = DNS_ROTATE(s->v1, 17) ^ s->v2;
	s->v2 = DNS_ROTATE(s->v2, 32);
}

/*
 * SipHash-1-3 with 128 bits of the `read_size` bytes in `wire`, which zeros follow. Makes them
 * lower case.
 */
static __always_inline void dns_hash(struct dns_message *m)
{
	const __u32 size = m->read_size;
	struct dns_sip s = {
		.v0 = m->key[0] ^ 0x736f6d6570736575ULL,
		.v1 = m->key[1] ^ 0x646f72616e646f6dULL ^ 0xee,
		.v2 = m->key[0] ^ 0x6c7967656e657261ULL,
		.v3 = m->key[1] ^ 0x7465646279746573ULL,
	};

	for (__u32 i = 0; i <= DNS_NAME_MAX / 8; i++) {
		__u8 *at = &m->wire[i * 8];
		__u64 word = dns_lower(DNS_LOAD(at));
		const int last = i * 8 + 8 > size;

		DNS_STORE(at, word);
		if (last)
			word |= (__u64)size << 56;
		s.v3 ^= word;
		dns_sip_round(&s);
		s.v0 ^= word;
		if (last)
			break;
	}
	s.v2 ^= 0xee;
	for (int i = 0; i < 3; i++)
		dns_sip_round(&s);
	m->read.hash[0] = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
	s.v1 ^= 0xdd;
	for (int i = 0; i < 3; i++)
		dns_sip_round(&s);
	m->read.hash[1] = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

static __always_inline __u32 dns_end_name(struct dns_message *m, __u32 at, __u32 size)
{
	DNS_STORE(&m->wire[size & 511], 0);
	DNS_STORE(&m->wire[(size & 511) + 8], 0);
	m->read_size = size + 1;
	if (!DNS_FRESH(m->read_end))
		DNS_FRESH(m->read_end) = at + 1;
	return DNS_FRESH(m->read_end);
}

static __always_inline int dns_follow_pointer(struct dns_message *m, __u32 at)
{
	if (at + 1 >= m->length)
		return 0;
	const __u32 target = dns_u16(m, at) & 0x3fff;
	const __u32 pointers = DNS_FRESH(m->read_pointers);

	if (target >= DNS_FRESH(m->read_begin) || target < DNS_HEADER ||
	    pointers >= DNS_POINTERS_MAX)
		return 0;
	if (!DNS_FRESH(m->read_end))
		DNS_FRESH(m->read_end) = at + 2;
	DNS_FRESH(m->read_pointers) = pointers + 1;
	DNS_FRESH(m->read_at) = target;
	DNS_FRESH(m->read_begin) = target;
	return 1;
}

/*
 * Copies the name at an offset to `wire` and `read_size`, as it is. Returns the offset behind it
 * (behind its first pointer if it is compressed), 0 if it is damaged. A pointer must lead to before
 * the place where the labels that it ends have begun, so there are no loops.
 */
static __always_inline __u32 dns_copy_name(struct dns_message *m, __u32 start)
{
	m->read_at = start;
	m->read_begin = start;
	m->read_left = 0;
	m->read_pointers = 0;
	m->read_end = 0;
	m->read_size = 0;
	for (__u32 i = 0; i < DNS_NAME_STEPS; i++) {
		/*
		 * The state of the loop is in memory: whatever happened before, a verifier sees the
		 * same unknown numbers here, and follows each step once. For the same reason there
		 * is no loop for the bytes of a label: a step copies up to eight of them.
		 */
		const __u32 at = DNS_FRESH(m->read_at), size = DNS_FRESH(m->read_size);
		__u32 left = DNS_FRESH(m->read_left);

		if (!left) {
			if (at >= m->length)
				return 0;
			const __u32 length = DNS_BYTE(m, at);

			if (!length)
				return dns_end_name(m, at, size);
			if (length >= 0xc0) {
				if (!dns_follow_pointer(m, at))
					return 0;
				continue;
			}
			/* One more byte than the label, and one for the end. */
			if (length > 63 || at + length >= m->length ||
			    size + length + 2 > DNS_NAME_MAX)
				return 0;
			left = length + 1;
		}
		const __u32 part = left < 8 ? left : 8;

		DNS_STORE(&m->wire[size & 511], DNS_LOAD(&m->bytes[at & (DNS_MESSAGE_MAX - 1)]));
		DNS_FRESH(m->read_at) = at + part;
		DNS_FRESH(m->read_size) = size + part;
		DNS_FRESH(m->read_left) = left - part;
	}
	return 0;
}

/* Reads the name at an offset into `wire`, `read_size` and `read`. Returns as dns_copy_name(). */
static __always_inline __u32 dns_read_name(struct dns_message *m, __u32 at)
{
	const __u32 end = dns_copy_name(m, at);

	if (end)
		dns_hash(m);
	return end;
}

#ifndef DNS_NAME
#define DNS_NAME(m, at) dns_read_name(m, at)
#endif

/* Reads the header and the question of a message of m->length bytes. The result is name[0]. */
static __always_inline int dns_open(struct dns_message *m)
{
	m->names = 0;
	m->addresses = 0;
	m->records = 0;
	if (m->length > DNS_MESSAGE_MAX)
		return DNS_TOO_LARGE;
	if (m->length < DNS_HEADER)
		return DNS_DAMAGED;
	m->id = (__u16)dns_u16(m, 0);
	m->flags = (__u16)dns_u16(m, 2);
	if (m->flags & DNS_MASK_OPCODE || dns_u16(m, 4) != 1)
		return DNS_UNUSUAL;

	const __u32 end = DNS_NAME(m, DNS_HEADER);

	if (!end || end + 4 > m->length)
		return DNS_DAMAGED;
	m->type = (__u16)dns_u16(m, end);
	m->qclass = (__u16)dns_u16(m, end + 2);
	m->name[0] = m->read;
	m->name_at[0] = DNS_HEADER;
	m->names = 1;
	m->at = end + 4;
	m->records = (__u16)dns_u16(m, 6);
	return m->records > DNS_RECORDS_MAX ? DNS_TOO_LARGE : DNS_OK;
}

/* Which name of the chain `read` is, from 1; 0 if none. The last one is the most likely. */
static __always_inline __u32 dns_find_read(const struct dns_message *m)
{
	const __u32 names = m->names;

	for (__u32 i = 0; i < DNS_NAMES_MAX; i++) {
		const __u32 index = (names - 1 - i) & (DNS_NAMES_MAX - 1);

		if (i >= names)
			break;
		if (m->name[index].hash[0] == m->read.hash[0] &&
		    m->name[index].hash[1] == m->read.hash[1])
			return index + 1;
	}
	return 0;
}

/*
 * Finds the owner of the record at m->at in the chain: its number from 1 or 0, and the offset
 * behind it, 0 if it is damaged.
 */
static __always_inline __u32 dns_find_owner(struct dns_message *m, __u32 *end)
{
	const __u32 at = m->at;

	if (at + 1 < m->length && DNS_BYTE(m, at) >= 0xc0) {
		const __u32 target = dns_u16(m, at) & 0x3fff;
		const __u32 last = (m->names - 1u) & (DNS_NAMES_MAX - 1);

		*end = at + 2;
		if (target == m->name_at[last])
			return last + 1;
		if (target == m->name_at[0])
			return 1;
	}
	*end = DNS_NAME(m, at);
	return *end ? dns_find_read(m) : 0;
}

static __always_inline int dns_add_address(struct dns_message *m, __u32 names, __u32 at, __u32 ttl,
					   int v6)
{
	const __u32 index = m->addresses;

	if (index >= DNS_RECORDS_MAX)
		return DNS_TOO_LARGE;
	struct dns_address *address = &m->address[index & (DNS_RECORDS_MAX - 1)];
	const __u8 *bytes = &DNS_BYTE(m, at);
	const __u64 first = DNS_LOAD(bytes);

	/* Other bytes than the first four are the next record's, or stale. */
	DNS_STORE(&address->bytes[0], 0);
	DNS_STORE(&address->bytes[8], 0);
	if (v6) {
		DNS_STORE(&address->bytes[0], first);
		DNS_STORE(&address->bytes[8], DNS_LOAD(bytes + 8));
	} else {
		for (int i = 0; i < 4; i++)
			address->bytes[i] = bytes[i];
	}
	/* RFC 2181, 8: a TTL with its highest bit set is 0. */
	address->ttl = ttl >> 31 ? 0 : ttl;
	address->v6 = !!v6;
	address->names = (__u8)names;
	address->unused = 0;
	m->addresses = index + 1;
	return DNS_OK;
}

/* A CNAME of the chain's last name continues it; one of an earlier name, or a loop, does not. */
static __always_inline int dns_add_cname(struct dns_message *m, __u32 owner, __u32 at, __u32 size)
{
	const __u32 end = DNS_NAME(m, at);
	const __u32 names = m->names;

	if (end != at + size)
		return DNS_DAMAGED;
	if (owner != names || dns_find_read(m))
		return DNS_OK;
	if (names >= DNS_NAMES_MAX)
		return DNS_TOO_LARGE;
	m->name[names & (DNS_NAMES_MAX - 1)] = m->read;
	m->name_at[names & (DNS_NAMES_MAX - 1)] = at;
	m->names = (__u16)(names + 1);
	return DNS_OK;
}

/* Reads the next record of the answer section, of which m->records are left. */
static __always_inline int dns_next(struct dns_message *m)
{
	__u32 at;
	const __u32 owner = dns_find_owner(m, &at);

	if (!at || at + DNS_RECORD > m->length)
		return DNS_DAMAGED;
	const __u32 type = dns_u16(m, at);
	const __u32 record_class = dns_u16(m, at + 2);
	const __u32 ttl = dns_u16(m, at + 4) << 16 | dns_u16(m, at + 6);
	const __u32 size = dns_u16(m, at + 8);

	at += DNS_RECORD;
	if (at + size > m->length)
		return DNS_DAMAGED;
	m->at = at + size;
	m->records -= 1;
	if (!owner || record_class != DNS_CLASS_IN)
		return DNS_OK;
	if (type == DNS_TYPE_CNAME)
		return dns_add_cname(m, owner, at, size);
	if (type != DNS_TYPE_A && type != DNS_TYPE_AAAA)
		return DNS_OK;
	if (size != (type == DNS_TYPE_A ? 4u : 16u))
		return DNS_DAMAGED;
	return dns_add_address(m, owner, at, ttl, type == DNS_TYPE_AAAA);
}
