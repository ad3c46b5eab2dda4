/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "context.bpf.h"
#include "maps.bpf.h"

/* Every packet is counted once, under the reason of its verdict. */
static __always_inline void count(__u32 reason, __u32 direction, __u32 length)
{
	__u32 slot = SLUICE_REASON_SLOT(reason, direction);
	struct sluice_counter *counter = bpf_map_lookup_elem(&reasons, &slot);

	if (!counter)
		return;
	counter->packets += 1;
	counter->bytes += length;
}
