/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "context.bpf.h"
#include "maps.bpf.h"

/*
 * The record of an endpoint, NULL if there is none. *index is the ifindex of the endpoint's
 * interface, and becomes the index of the record.
 */
static __always_inline struct sluice_endpoint *find_record(__u32 *index)
{
	if (unlikely(*index >= SLUICE_ENDPOINTS_DIRECT)) {
		const __u32 *other = bpf_map_lookup_elem(&ep_overflow, index);

		if (!other)
			return NULL;
		*index = *other;
	}
	return bpf_map_lookup_elem(&endpoints, index);
}
