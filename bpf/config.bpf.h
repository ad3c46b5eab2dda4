/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include <linux/types.h>

/*
 * Set by user space before the programs are loaded; the verifier folds them into the code. Jiffies
 * per second are measured then, because no helper returns them.
 */
const volatile __u32 sluice_hz = 250;

/*
 * Seconds after which a flow without packets is treated as gone. TCP established: RFC 5382 REQ-5 (2
 * h 4 min); opening: its transitory 4 min. Closed: long enough for the last ACKs, short enough for
 * a port to be used again. UDP: 60 s until answered as in nf_conntrack in the past, then 3 min (RFC
 * 4787 REQ-5: over 2 min). ICMP: RFC 5508 REQ-2. Others: nf_conntrack's generic 10 min.
 */
const volatile __u32 sluice_timeout_tcp = 7440;
const volatile __u32 sluice_timeout_tcp_opening = 240;
const volatile __u32 sluice_timeout_tcp_closed = 10;
const volatile __u32 sluice_timeout_udp = 180;
const volatile __u32 sluice_timeout_udp_unreplied = 60;
const volatile __u32 sluice_timeout_icmp = 60;
const volatile __u32 sluice_timeout_other = 600;
/* The shortest of all timeouts: a flow seen within it cannot have timed out. */
const volatile __u32 sluice_timeout_shortest = 10;
