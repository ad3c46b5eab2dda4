/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "kernel.bpf.h"
#include "sluice/abi.h"
#include "sluice/maps.h"

/* Data that a program needs only for rare packets and that does not fit on its stack. */
struct sluice_scratch {
	struct kernel_tuple tuple;
	struct sluice_origin origin; /* the packet's source before it was masqueraded */
};

/* User space sets the sizes that are options before it loads the programs. */
#define SLUICE_SIZE_fixed(number) number
#define SLUICE_SIZE_option(member) 4096
#define SLUICE_DECLARE(id, map, map_type, flags, size, key_type, value_type, use)                  \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_##map_type);                                             \
		__uint(map_flags, flags);                                                          \
		__uint(max_entries, SLUICE_SIZE_##size);                                           \
		__type(key, key_type);                                                             \
		__type(value, value_type);                                                         \
	} map SEC(".maps");
#define SLUICE_DECLARE_RING(id, map, size)                                                         \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_RINGBUF);                                                \
		__uint(max_entries, SLUICE_SIZE_##size);                                           \
	} map SEC(".maps");

/* Without a size, libbpf would read the number of CPUs from /sys, which may not be there. */
#define SLUICE_CPUS_MAX 8192
#define SLUICE_DECLARE_PERF(id, map)                                                               \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);                                       \
		__uint(max_entries, SLUICE_CPUS_MAX);                                              \
		__type(key, __u32);                                                                \
		__type(value, __u32);                                                              \
	} map SEC(".maps");
/* The agent gives its inner maps another size. */
#define SLUICE_DECLARE_OUTER(id, map, size, key_type, inner_key, inner_value)                      \
	struct sluice_##map##_inner {                                                              \
		__uint(type, BPF_MAP_TYPE_LRU_HASH);                                               \
		__uint(max_entries, 64);                                                           \
		__uint(key_size, sizeof(inner_key));                                               \
		__uint(value_size, sizeof(inner_value));                                           \
	};                                                                                         \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);                                           \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                              \
		__uint(max_entries, SLUICE_SIZE_##size);                                           \
		__type(key, key_type);                                                             \
		__array(values, struct sluice_##map##_inner);                                      \
	} map SEC(".maps");

SLUICE_MAPS(SLUICE_DECLARE, SLUICE_DECLARE_RING, SLUICE_DECLARE_PERF, SLUICE_DECLARE_OUTER)

#undef SLUICE_DECLARE
#undef SLUICE_DECLARE_RING
#undef SLUICE_DECLARE_PERF
#undef SLUICE_DECLARE_OUTER
#undef SLUICE_SIZE_fixed
#undef SLUICE_SIZE_option

static __always_inline struct sluice_scratch *find_scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratch, &zero);
}
