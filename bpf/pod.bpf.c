/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "counters.bpf.h"
#include "dns.bpf.h"
#include "dns_answer.bpf.h"
#include "dns_held.bpf.h"
#include "dns_question.bpf.h"
#include "events.bpf.h"
#include "judge.bpf.h"
#include "reset.bpf.h"

/*
 * The programs on the host side of a pod's veth. They need Linux 5.10. An
 * allowed packet goes on to the next filter (TC_ACT_UNSPEC).
 */

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline int verdict_of(__u32 reason)
{
	return reason_allows(reason) ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

/* True for drops, and for allowed flows when they begin, if these are to be reported. */
static __always_inline bool is_reported(const struct context *c)
{
	if (!c->state)
		return false;
	/*
	 * The program that logs later does not have the original source any more, and a DNS message
	 * goes to another program.
	 */
	if (c->decision.jump == SLUICE_JUMP_LOG &&
	    (c->decision.origin_state & SLUICE_CT_MASQUERADED || c->decision.dns))
		return true;
	return !reason_allows(c->decision.reason) ||
	       (c->decision.new_flow && c->state->events_new_flows);
}

/*
 * `dns`: the packet goes to the program that reads DNS messages, which counts it. Returns if there
 * is no other program to go to, or if it is missing.
 */
static __always_inline void report_and_jump(struct context *c, __u32 direction, bool dns)
{
	const struct decision *d = &c->decision;
	bool reported = is_reported(c);
	struct report r = {
		.masqueraded = d->origin_state & SLUICE_CT_MASQUERADED,
		.rule = d->rule,
		.cidr_id = d->cidr_id,
		.policy_id = c->policy_id,
		.sport = c->packet.sport,
		.dport = c->packet.dport,
		.reason = d->reason,
		.direction = direction,
		.protocol = c->packet.protocol,
		.tcp_flags = c->packet.tcp_flags,
	};

	if (reported)
		emit_event(c->skb, c->state, &r);
	if (dns) {
		bpf_tail_call(c->skb, &jumps,
			      direction == SLUICE_EGRESS ? SLUICE_JUMP_DNS_QUESTION
							 : SLUICE_JUMP_DNS_ANSWER);
	} else if (d->jump) {
		store_report(c->skb, &r, reported);
		bpf_tail_call(c->skb, &jumps, d->jump);
	}
}

static __always_inline struct context context_of(struct __sk_buff *skb)
{
	struct context c = {
		.skb = skb,
		.ifindex = skb->ifindex,
		.length = skb->len,
	};

	return c;
}

static __always_inline int conclude(struct context *c, __u32 direction)
{
	const bool dns = unlikely(c->decision.dns);

	if (likely(!dns))
		count(c->decision.reason, direction, c->length);
	if (unlikely(!reason_allows(c->decision.reason) || c->decision.new_flow ||
		     c->decision.jump || dns))
		report_and_jump(c, direction, dns);
	if (likely(!dns))
		return verdict_of(c->decision.reason);
	/* Without that program nothing is learned, and no question can be judged. */
	if (direction == SLUICE_EGRESS && c->decision.dns != SLUICE_DNS_ANY)
		set_reason(c, SLUICE_REASON_INTERNAL);
	count(c->decision.reason, direction, c->length);
	return verdict_of(c->decision.reason);
}

/* `jump`: the program that must judge the packet, or SLUICE_JUMP_NONE if it has been judged. */
static __always_inline int conclude_or_jump(struct context *c, __u32 direction, __u32 jump)
{
	if (unlikely(jump)) {
		bpf_tail_call(c->skb, &jumps, jump);
		set_reason(c, SLUICE_REASON_INTERNAL);
	}
	return conclude(c, direction);
}

static __always_inline int run(struct __sk_buff *skb, __u32 direction)
{
	struct context c = context_of(skb);

	return conclude_or_jump(&c, direction, judge_common(&c, direction));
}

static __always_inline int run_uncommon(struct __sk_buff *skb, __u32 direction, bool v6)
{
	struct context c = context_of(skb);

	return conclude_or_jump(&c, direction, judge_uncommon(&c, direction, v6));
}

static __always_inline int run_names(struct __sk_buff *skb, __u32 direction, bool v6)
{
	struct context c = context_of(skb);

	judge_by_name(&c, direction, v6);
	return conclude(&c, direction);
}

SEC("tc")
int sluice_from_pod(struct __sk_buff *skb)
{
	return run(skb, SLUICE_EGRESS);
}

SEC("tc")
int sluice_to_pod(struct __sk_buff *skb)
{
	return run(skb, SLUICE_INGRESS);
}

/* jumps[SLUICE_JUMP_LINK_FROM_POD] */
SEC("tc")
int sluice_link(struct __sk_buff *skb)
{
	struct context c = context_of(skb);

	return conclude_or_jump(&c, SLUICE_EGRESS, judge_link(&c));
}

/* jumps[SLUICE_JUMP_UNCOMMON(...)] */
SEC("tc")
int sluice_from_4(struct __sk_buff *skb)
{
	return run_uncommon(skb, SLUICE_EGRESS, false);
}

SEC("tc")
int sluice_from_6(struct __sk_buff *skb)
{
	return run_uncommon(skb, SLUICE_EGRESS, true);
}

SEC("tc")
int sluice_to_4(struct __sk_buff *skb)
{
	return run_uncommon(skb, SLUICE_INGRESS, false);
}

SEC("tc")
int sluice_to_6(struct __sk_buff *skb)
{
	return run_uncommon(skb, SLUICE_INGRESS, true);
}

/* jumps[SLUICE_JUMP_NAMES(...)] */
SEC("tc")
int sluice_names_from_4(struct __sk_buff *skb)
{
	return run_names(skb, SLUICE_EGRESS, false);
}

SEC("tc")
int sluice_names_from_6(struct __sk_buff *skb)
{
	return run_names(skb, SLUICE_EGRESS, true);
}

SEC("tc")
int sluice_names_to_4(struct __sk_buff *skb)
{
	return run_names(skb, SLUICE_INGRESS, false);
}

SEC("tc")
int sluice_names_to_6(struct __sk_buff *skb)
{
	return run_names(skb, SLUICE_INGRESS, true);
}

/* jumps[SLUICE_JUMP_LOG]: reports a flow although new flows are not reported. */
SEC("tc")
int sluice_log(struct __sk_buff *skb)
{
	__u32 zero = 0;
	const struct sluice_state *s = bpf_map_lookup_elem(&state, &zero);
	struct report r;
	bool reported = load_report(skb, &r);

	if (s && !reported)
		emit_event(skb, s, &r);
	return verdict_of(r.reason);
}

/* jumps[SLUICE_JUMP_RESET]: resets the sender of a TCP segment whose flow policy has ended. */
SEC("tc")
int sluice_reset(struct __sk_buff *skb)
{
	struct report r;

	load_report(skb, &r);
	return answer_with_reset(skb, r.direction);
}

/*
 * A held packet is on its way: to its sender, it is not dropped. Otherwise a kernel that sends
 * fragments would not send the others.
 */
static __always_inline int dns_verdict(__u32 reason)
{
	return reason == SLUICE_REASON_DNS_HELD ? TC_ACT_STOLEN : verdict_of(reason);
}

/* jumps[SLUICE_JUMP_DNS_ANSWER]: learns the addresses of names from an allowed packet. */
SEC("tc")
int sluice_dns_answer(struct __sk_buff *skb)
{
	const __u32 reason = learn_from_answer(skb);

	count(reason, SLUICE_INGRESS, skb->len);
	return dns_verdict(reason);
}

/* jumps[SLUICE_JUMP_DNS_QUESTION]: reads what an allowed packet asks for. */
SEC("tc")
int sluice_dns_question(struct __sk_buff *skb)
{
	const struct dns_place place = load_dns_place(skb);
	__u32 zero = 0;
	const struct sluice_state *s = bpf_map_lookup_elem(&state, &zero);
	const __u32 reason = s ? judge_question(skb, &place, s) : SLUICE_REASON_INTERNAL;

	count(reason, SLUICE_EGRESS, skb->len);
	if (reason != SLUICE_REASON_DNS_REFUSED || !s)
		return dns_verdict(reason);
	report_refused(skb, s, &place);
	return refuse(skb, s, &place);
}

/* Run by the agent alone. */
SEC("tc")
int sluice_resend(struct __sk_buff *skb)
{
	return resend(skb);
}
