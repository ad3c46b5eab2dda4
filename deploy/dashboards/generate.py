#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes sluice.json, the Grafana dashboard.

  deploy/dashboards/generate.py            writes it
  deploy/dashboards/generate.py --check    says whether it is as it should be
"""

import json
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
_TARGET = os.path.join(_HERE, "sluice.json")
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_NODE = '{node=~"$node"}'
_WIDTH = 24

# What a time series of an agent is of is its instance; the node's name is a label of one of them.
_BY_NODE = "* on(instance) group_left(node) sluice_agent_build_info" + _NODE


def _agents(expression):
    """Of the chosen nodes."""
    return f"({expression} {_BY_NODE})"


def _rate(name, by):
    """Per second, summed over the chosen nodes."""
    return f"sum by ({by}) {_agents(f'rate({name}[$__rate_interval])')}"


def _quantiles(name, select=lambda e: e):
    buckets = select(f"rate({name}_bucket[$__rate_interval])")
    return [(f"histogram_quantile({q}, sum by (le) ({buckets}))", f"p{int(q * 100)}") for q in (0.5, 0.99)]


def _targets(queries):
    return [{"datasource": _SOURCE, "refId": chr(ord("A") + n), "expr": expression, "legendFormat": legend}
            for n, (expression, legend) in enumerate(queries)]


def stat(title, expression, description, bad_from=None, bad_below=None, width=4):
    """One number; red from `bad_from` on, or below `bad_below`."""
    if bad_below is not None:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": bad_below}]
    elif bad_from is not None:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": bad_from}]
    else:
        steps = [{"color": "text", "value": None}]
    return {"type": "stat", "title": title, "description": description, "width": width, "height": 4,
            "fieldConfig": {"defaults": {"unit": "short", "thresholds": {"mode": "absolute", "steps": steps}},
                            "overrides": []},
            "options": {"colorMode": "value", "graphMode": "none",
                        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}},
            "targets": _targets([(expression, "")])}


def graph(title, unit, queries, description, stacked=False, most=None, width=8):
    custom = {"lineWidth": 1, "fillOpacity": 20 if stacked else 0, "showPoints": "never",
              "stacking": {"mode": "normal" if stacked else "none"}}
    defaults = {"unit": unit, "min": 0, "custom": custom}
    if most is not None:
        defaults["max"] = most
    return {"type": "timeseries", "title": title, "description": description, "width": width, "height": 8,
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": {"legend": {"displayMode": "list", "placement": "bottom"},
                        "tooltip": {"mode": "multi", "sort": "desc"}},
            "targets": _targets(queries)}


def row(title, *panels):
    return [{"type": "row", "title": title, "width": _WIDTH, "height": 1, "collapsed": False, "panels": []},
            *panels]


def _enforcement():
    return row(
        "Is it enforced",
        stat("Agents", f"count(sluice_agent_build_info{_NODE})", "Agents that answer."),
        stat("Agents without an operator", f"count({_agents('sluice_agent_operator_connected')} == 0) or vector(0)",
             "They enforce what they were told last.", bad_from=1),
        stat("Nodes behind", f"count({_agents('sluice_agent_behind_seconds')} > 10) or vector(0)",
             "Nodes where what was received has not been in force for more than ten seconds.", bad_from=1),
        stat("Pods not enforced", f"sum{_agents('sluice_agent_endpoints{state=%s}' % json.dumps('pending'))}",
             "Pods whose policies are not in force, and pods without an interface.", bad_from=1),
        stat("Objects not valid", "sum(max by (kind) (sluice_operator_invalid_objects))",
             "Objects of the cluster that could not be understood.", bad_from=1),
        stat("Operators that lead", "sum(sluice_operator_leader)",
             "One of the replicas writes status.", bad_below=1),
        graph("Policies by what has become of them", "short",
              [("max by (kind, condition) (sluice_operator_policies)", "{{kind}} {{condition}}")],
              "Policies of which a condition is true."),
        graph("For how long nodes have been behind", "s",
              [(f"max by (node) {_agents('sluice_agent_behind_seconds')}", "{{node}}")],
              "0 if all that was received is in force."),
        graph("Nodes behind, by operator", "short",
              [("sluice_operator_nodes_behind", "{{instance}}")],
              "Nodes that have not put into force all that they were sent."))


def _traffic():
    denied = 'sluice_agent_packets_total{verdict="denied"}'
    allowed = 'sluice_agent_packets_total{verdict="allowed"}'
    return row(
        "Traffic",
        graph("Packets denied, by reason", "pps", [(_rate(denied, "reason, direction"), "{{direction}}: {{reason}}")],
              "`sluice monitor --drops` on the node says which.", stacked=True),
        graph("Packets denied, by node", "pps", [(_rate(denied, "node"), "{{node}}")], "", stacked=True),
        graph("Packets allowed, by reason", "pps",
              [(_rate(allowed, "reason, direction"), "{{direction}}: {{reason}}")], "", stacked=True),
        graph("Bytes, by verdict", "Bps",
              [(_rate("sluice_agent_bytes_total", "verdict, direction"), "{{direction}} {{verdict}}")], ""),
        graph("Flow events not reported", "short", [(_rate("sluice_agent_events_lost_total", "node"), "{{node}}")],
              "Per second. Verdicts are not concerned: only `sluice monitor` misses them."),
        graph("Interfaces cut off as unknown", "short",
              [(f"max by (node) {_agents('sluice_agent_unclaimed_denied')}", "{{node}}"),
               (f"sum{_agents('sluice_agent_deny_unknown')}", "nodes that cut off")],
              "With --on-unknown=deny: pods that no verdict is known for yet."))


def _most(name, by, select, count=10):
    """The largest rates of flows, added up over the chosen nodes."""
    return [(f"topk({count}, sum by ({by}) {_agents(f'rate({name}{select}[$__rate_interval])')})",
             " ".join("{{" + label + "}}" for label in by.split(", ")))]


def _flows():
    denied, allowed = '{verdict="denied"}', '{verdict="allowed"}'
    pairs = "source_namespace, source, destination_namespace, destination"
    return row(
        "Flows",
        graph("Workloads with most denied packets", "pps",
              _most("sluice_agent_flows_total", "workload_namespace, workload, direction", denied),
              "As far as nodes report them: `--events-per-second` bounds that.", stacked=True),
        graph("Pairs that are denied most", "pps", _most("sluice_agent_denied_pair_flows_total", pairs, ""),
              "Source, destination. `sluice observe --verdict dropped` shows their flows.", stacked=True),
        graph("Policies that deny most", "pps",
              _most("sluice_agent_policy_flows_total", "policy, rule, direction", denied),
              "Without a rule: the policy isolates the pods, and no rule allows the packet.", stacked=True),
        graph("Workloads with most new flows", "short",
              _most("sluice_agent_flows_total", "workload_namespace, workload, direction", allowed), "Per second.", stacked=True),
        graph("Rules that allow most new flows", "short",
              _most("sluice_agent_policy_flows_total", "policy, rule, direction", allowed), "Per second.", stacked=True),
        graph("Export of flows", "short",
              [(_rate("sluice_agent_flows_exported_total", "node"), "{{node}}"),
               (_rate("sluice_agent_flow_export_lost_total", "node"), "{{node}} lost"),
               (_rate("sluice_agent_flow_export_failures_total", "node"), "{{node}} failed attempts")],
              "Per second, with --export-file."))


def _changes():
    return row(
        "Changes",
        graph("From event to transaction", "s", _quantiles("sluice_operator_translate_seconds"),
              "What operators need to translate a change."),
        graph("From transaction to kernel", "s", _quantiles("sluice_agent_apply_seconds", _agents),
              "What agents need to put it into force."),
        graph("Pods kept from starting", "s", _quantiles("sluice_agent_pod_start_seconds", _agents),
              "For how long, until their policies are in force."),
        graph("Changes that could not be put into force", "short",
              [(_rate("sluice_agent_apply_failures_total", "node"), "{{node}}")],
              "Per second, with the tries to do it again."),
        graph("Sent to agents", "Bps", [("sum by (instance) (rate(sluice_operator_bytes_sent_total[$__rate_interval]))",
                                         "{{instance}}")], ""),
        graph("Snapshots and transactions sent", "short",
              [("sum(rate(sluice_operator_snapshots_sent_total[$__rate_interval]))", "snapshots"),
               ("sum(rate(sluice_operator_transactions_sent_total[$__rate_interval]))", "transactions")], "Per second."),
        graph("Revisions", "short",
              [("sluice_operator_revision", "operator {{instance}}"),
               (f"max by (node) {_agents('sluice_agent_revision_received')}", "received by {{node}}"),
               (f"max by (node) {_agents('sluice_agent_revision_applied')}", "in force on {{node}}")],
              "Revisions of different operators cannot be compared."))


def _names():
    without_room = _agents("sluice_agent_learned_addresses_without_room")
    return row(
        "DNS names",
        graph("DNS messages held", "s", _quantiles("sluice_agent_dns_hold_seconds", _agents),
              "For how long, until the agent has sent them on: by so much are these lookups slower."),
        graph("Messages, addresses and names", "short",
              [(_rate("sluice_agent_dns_held_total", "node"), "{{node}}: held"),
               (_rate("sluice_agent_learned_addresses_total", "node"), "{{node}}: addresses learned"),
               (_rate("sluice_agent_names_forgotten_total", "node"), "{{node}}: names forgotten")], "Per second."),
        graph("Lost, or without room", "short",
              [(_rate("sluice_agent_dns_held_lost_total", "node"), "{{node}}: messages lost, per second"),
               (f"sum by (node) {without_room}", "{{node}}: addresses beyond a pod's maximum")],
              "Pods ask again for what is lost, and cannot connect to addresses without room."))


def _maps():
    fill = "sluice_agent_map_entries / sluice_agent_map_capacity"
    return row(
        "Kernel maps",
        graph("Fill, the fullest node", "percentunit", [(f"max by (map) {_agents(f'({fill})')}", "{{map}}")],
              "A full conntrack map forgets its oldest flows; a full policy or peer map keeps changes from "
              "being enforced.", most=1),
        graph("Policy entries", "short",
              [(f"max by (node) {_agents('sluice_agent_map_entries{map=%s}' % json.dumps('policy'))}", "{{node}}")], ""),
        graph("Flows known", "short",
              [(f"sum by (node) {_agents('sluice_agent_map_entries{map=~%s}' % json.dumps('conntrack.'))}",
                "{{node}}")], ""))


def _connections():
    return row(
        "Between API server, operators and agents",
        graph("Agents of each operator", "short",
              [("sluice_operator_agents_connected", "{{instance}}: agents"),
               ("sluice_operator_streams", "{{instance}}: streams"),
               ("sum by (instance) (rate(sluice_operator_streams_refused_total[$__rate_interval]))",
                "{{instance}}: refused per second")], ""),
        graph("Connections of agents", "short",
              [(_rate("sluice_agent_operator_attempts_total", "node"), "{{node}}: tries"),
               (_rate("sluice_agent_operator_connects_total", "node"), "{{node}}: that succeeded"),
               (_rate("sluice_agent_operator_disconnects_total", "node"), "{{node}}: that ended")], "Per second."),
        graph("Received by agents", "Bps",
              [(_rate("sluice_agent_operator_received_bytes_total", "node"), "{{node}}")], ""),
        graph("Events of the API server", "short",
              [("sum by (kind) (rate(sluice_operator_watch_events_total[$__rate_interval]))", "{{kind}}")],
              "Per second."),
        graph("Watches begun anew", "short",
              [("sum by (kind) (rate(sluice_operator_watch_restarts_total[$__rate_interval]))", "{{kind}}"),
               ("sum by (kind) (sluice_operator_watch_synced == 0)", "{{kind}}: not complete")], "Per second."),
        graph("Objects", "short", [("max by (kind) (sluice_operator_objects)", "{{kind}}")], ""),
        graph("Requests to the API server", "short",
              [("sum by (instance) (rate(sluice_operator_api_requests_total[$__rate_interval]))", "{{instance}}"),
               ("sum by (instance) (rate(sluice_operator_api_failures_total[$__rate_interval]))",
                "{{instance}}: failed")], "Per second."),
        graph("Status written", "short",
              [("sum(rate(sluice_operator_status_writes_total[$__rate_interval]))", "written"),
               ("sum(rate(sluice_operator_events_total[$__rate_interval]))", "events"),
               ("sum(rate(sluice_operator_status_write_failures_total[$__rate_interval]))", "failed")], "Per second."),
        graph("Refused or not kept by agents", "short",
              [(_rate("sluice_agent_operator_refused_updates_total", "node"), "{{node}}: refused as not valid"),
               (_rate("sluice_agent_journal_failures_total", "node"), "{{node}}: not kept for the next start")],
              "Per second; always 0 where all is well."))


def _programs():
    return row(
        "Programs",
        graph("Memory", "bytes",
              [("process_resident_memory_bytes and on(instance) sluice_operator_build_info", "operator {{instance}}"),
               (f"max by (node) {_agents('process_resident_memory_bytes')}", "agent on {{node}}")],
              "Kernel maps are not in it.", width=8),
        graph("Operators' certificates are good for", "s",
              [("sluice_operator_certificate_expiration_timestamp_seconds - time()", "{{instance}}")], "", width=8),
        graph("Versions", "short",
              [("count by (version) (sluice_operator_build_info)", "operator {{version}}"),
               (f"count by (version) (sluice_agent_build_info{_NODE})", "agent {{version}}")], "", width=8))


def _place(panels):
    """Left to right, then down; ids in that order."""
    x = y = height = 0
    for number, panel in enumerate(panels, 1):
        width, own = panel.pop("width"), panel.pop("height")
        if x + width > _WIDTH or panel["type"] == "row":
            x, y, height = 0, y + height, 0
        panel["id"], panel["gridPos"] = number, {"x": x, "y": y, "w": width, "h": own}
        if panel["type"] != "row":
            panel["datasource"] = _SOURCE
        x, height = x + width, max(height, own)
    return panels


def dashboard():
    parts = (_enforcement, _traffic, _flows, _changes, _names, _maps, _connections, _programs)
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"},
        {"name": "node", "type": "query", "label": "Node", "datasource": _SOURCE, "refresh": 2,
         "query": {"query": "label_values(sluice_agent_build_info, node)", "refId": "node"},
         "includeAll": True, "multi": True, "allValue": ".*", "sort": 1,
         "current": {"selected": True, "text": ["All"], "value": ["$__all"]}}]
    return {"title": "Sluice", "uid": "sluice", "tags": ["sluice"], "schemaVersion": 36, "version": 1,
            "editable": True, "graphTooltip": 1, "refresh": "30s", "time": {"from": "now-1h", "to": "now"},
            "timezone": "browser", "templating": {"list": variables}, "annotations": {"list": []},
            "panels": _place([panel for part in parts for panel in part()])}


def main():
    text = json.dumps(dashboard(), indent=1) + "\n"
    if "--check" not in sys.argv[1:]:
        with open(_TARGET, "w", encoding="utf-8") as file:
            file.write(text)
        return 0
    with open(_TARGET, encoding="utf-8") as file:
        if file.read() == text:
            return 0
    print("sluice.json is not what generate.py writes", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
