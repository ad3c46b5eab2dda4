# SPDX-License-Identifier: Apache-2.0
"""Series as Prometheus has them, one value a minute: a cluster in which all is well, and for each alert what is
different where it must fire."""

# `0x30`, in promtool's notation: 0 and thirty times the same.
_MINUTES = 30
_QUICK = {"le='0.005'": "0+60x30", "le='0.5'": "0+60x30", "le='10'": "0+60x30", "le='+Inf'": "0+60x30"}
_SLOW = {"le='0.005'": "0x30", "le='0.5'": "0x30", "le='10'": "0+60x30", "le='+Inf'": "0+60x30"}


def _histogram(name, labels, buckets):
    return {f"{name}_bucket{{{labels},{le}}}": values for le, values in buckets.items()}


_AGENTS = {"a:9965": "n1", "b:9965": "n2"}
_OPERATORS = ("c:9964", "d:9964")
_COUNTERS_OF_AGENTS = ("apply_failures", "operator_refused_updates", "journal_failures", "dns_held_lost",
                       "names_over_limit", "names_forgotten", "flow_export_failures", "flow_export_lost")
_COUNTERS_OF_OPERATORS = ("api_failures", "flow_calls_refused", "streams_refused", "status_write_failures")


def healthy():
    """{series: values}"""
    series = {}
    for instance, node in _AGENTS.items():
        own = f"instance='{instance}'"
        series[f"kube_node_info{{node='{node}',instance='e:8080'}}"] = "1x30"
        series[f"sluice_agent_build_info{{{own},node='{node}',version='1'}}"] = "1x30"
        series |= {f"sluice_agent_{name}_total{{{own}}}": "0x30" for name in _COUNTERS_OF_AGENTS}
        series |= {f"sluice_agent_{name}{{{own}}}": "0x30"
                   for name in ("behind_seconds", "unclaimed_denied", "learned_addresses_without_room")}
        series[f"sluice_agent_operator_connected{{{own}}}"] = "1x30"
        for state, count in (("enforced", 3), ("pending", 0)):
            series[f"sluice_agent_endpoints{{{own},state='{state}'}}"] = f"{count}x30"
        # conntrack may be full.
        for name, entries in (("policy", 89), ("peers4", 5), ("conntrack4", 100)):
            series[f"sluice_agent_map_entries{{{own},map='{name}'}}"] = f"{entries}x30"
            series[f"sluice_agent_map_capacity{{{own},map='{name}'}}"] = "100x30"
        series |= _histogram("sluice_agent_pod_start_seconds", own, _QUICK)
        series |= _histogram("sluice_agent_dns_hold_seconds", own, _QUICK)
    for number, instance in enumerate(_OPERATORS):
        own = f"instance='{instance}'"
        series[f"sluice_operator_build_info{{{own},version='1'}}"] = "1x30"
        series[f"sluice_operator_leader{{{own}}}"] = f"{number}x30"
        series[f"sluice_operator_agents_connected{{{own}}}"] = "1x30"
        series[f"sluice_operator_flow_nodes{{{own}}}"] = "2x30"
        series[f"sluice_operator_nodes_behind{{{own}}}"] = "0x30"
        series[f"sluice_operator_invalid_objects{{{own},kind='NetworkPolicy'}}"] = "0x30"
        series[f"sluice_operator_watch_synced{{{own},kind='Pod'}}"] = "1x30"
        # One each five minutes.
        series[f"sluice_operator_watch_restarts_total{{{own},kind='Pod'}}"] = "0x4 1x4 2x4 3x4 4x4 5x4"
        series |= {f"sluice_operator_{name}_total{{{own}}}": "0x30" for name in _COUNTERS_OF_OPERATORS}
        # Ten days; the other one's certificate is mounted, and not known.
        series[f"sluice_operator_certificate_expiration_timestamp_seconds{{{own}}}"] = f"{864000 * number}x30"
        series |= _histogram("sluice_operator_translate_seconds", own, _QUICK)
    return series


_A, _C, _D = "instance='a:9965'", "instance='c:9964'", "instance='d:9964'"
_RISES_ONCE = "0x25 1x4"

# Alert: what is different, by series; None takes a series away.
UNWELL = {
    "SluiceAgentMissing": {f"sluice_agent_build_info{{{_A},node='n1',version='1'}}": None},
    "SluicePodsNotEnforced": {f"sluice_agent_endpoints{{{_A},state='pending'}}": "0x20 2x9"},
    "SluiceNodeBehind": {f"sluice_agent_behind_seconds{{{_A}}}": "0x28 61"},
    "SluiceApplyFailures": {f"sluice_agent_apply_failures_total{{{_A}}}": _RISES_ONCE},
    "SluicePodStartSlow": _histogram("sluice_agent_pod_start_seconds", _A, _SLOW),
    "SluiceMapAlmostFull": {f"sluice_agent_map_entries{{{_A},map='policy'}}": "91x30"},
    "SluiceInterfacesCutOff": {f"sluice_agent_unclaimed_denied{{{_A}}}": "1x30"},
    "SluiceAgentDisconnected": {f"sluice_agent_operator_connected{{{_A}}}": "1x20 0x9"},
    "SluiceUpdatesRefused": {f"sluice_agent_operator_refused_updates_total{{{_A}}}": _RISES_ONCE},
    "SluiceJournalFailures": {f"sluice_agent_journal_failures_total{{{_A}}}": _RISES_ONCE},
    "SluiceDnsMessagesLost": {f"sluice_agent_dns_held_lost_total{{{_A}}}": _RISES_ONCE},
    "SluiceDnsSlow": _histogram("sluice_agent_dns_hold_seconds", _A, _SLOW),
    "SluiceNamesOverLimit": {f"sluice_agent_names_over_limit_total{{{_A}}}": _RISES_ONCE},
    "SluiceAddressesWithoutRoom": {f"sluice_agent_learned_addresses_without_room{{{_A}}}": "7x30"},
    "SluiceNamesForgotten": {f"sluice_agent_names_forgotten_total{{{_A}}}": "0+70x30"},
    "SluiceFlowExportFails": {f"sluice_agent_flow_export_failures_total{{{_A}}}": _RISES_ONCE},
    "SluiceFlowExportLost": {f"sluice_agent_flow_export_lost_total{{{_A}}}": _RISES_ONCE},
    "SluiceOperatorReplicas": {f"sluice_operator_build_info{{{_C},version='1'}}": None},
    "SluiceOperatorLeader": {f"sluice_operator_leader{{{_D}}}": "0x30"},
    "SluiceInvalidObjects": {f"sluice_operator_invalid_objects{{{_C},kind='NetworkPolicy'}}": "1x30"},
    "SluiceWatchNotSynced": {f"sluice_operator_watch_synced{{{_C},kind='Pod'}}": "0x30"},
    "SluiceWatchRestarts": {f"sluice_operator_watch_restarts_total{{{_C},kind='Pod'}}": "0+2x30"},
    "SluiceApiFailures": {f"sluice_operator_api_failures_total{{{_C}}}": "0+1x30"},
    "SluiceAgentsNotConnected": {f"sluice_operator_agents_connected{{{_C}}}": "0x30"},
    "SluiceFlowCallsRefused": {f"sluice_operator_flow_calls_refused_total{{{_C}}}": _RISES_ONCE},
    "SluiceFlowNodesMissing": {f"sluice_operator_flow_nodes{{{_C}}}": "1x30"},
    "SluiceStreamsRefused": {f"sluice_operator_streams_refused_total{{{_C}}}": _RISES_ONCE},
    "SluiceNodesBehind": {f"sluice_operator_nodes_behind{{{_C}}}": "1x30"},
    "SluiceTranslationSlow": _histogram("sluice_operator_translate_seconds", _C, _SLOW),
    "SluiceStatusWriteFailures": {f"sluice_operator_status_write_failures_total{{{_C}}}": _RISES_ONCE},
    "SluiceCertificateExpires": {f"sluice_operator_certificate_expiration_timestamp_seconds{{{_C}}}": "500000x30"},
}


def unwell(alert):
    """{series: values} of the cluster in which something is wrong."""
    series = healthy()
    for name, values in UNWELL[alert].items():
        if name not in series:
            raise KeyError(f"{name} is not in the healthy cluster")
        series[name] = values
    return {name: values for name, values in series.items() if values is not None}


EVALUATED_AT = f"{_MINUTES - 1}m"
