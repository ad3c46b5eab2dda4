// SPDX-License-Identifier: Apache-2.0
// What stands beside the map: lists of connections, flows and policies, and what is selected.
import { get } from "./api.js";
import { underneath } from "./map.js";
import { clock, el, endText, name, portText, row, table, verdict, visible } from "./text.js";

const ROWS_MAX = 200;

function many(count, what) {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

function note(text) {
  return el("p", { class: "note", text });
}

/** A column of names: a cell that cuts them. */
function nameCell(text) {
  return el("td", { class: "name" }, name(text));
}

function heading(...parts) {
  return el("h2", {}, ...parts);
}

const byDenied = (a, b) => Boolean(b.denied) - Boolean(a.denied) || b.last - a.last;

export function connections(graph, notes, select) {
  const pairs = [...graph.pairs.values()].sort(byDenied);
  if (!pairs.length) return [note("No flows yet that match."), away(notes)];
  const rows = pairs.slice(0, ROWS_MAX).map((pair) => {
    const line = row(() => select(pair.key),
      nameCell(endText(pair.from.end)), nameCell(endText(pair.to.end)),
      nameCell(portsOf(pair)),
      el("td", {}, pair.denied ? verdict(false, `${pair.denied}`) : null, pair.denied && pair.allowed ? " " : null,
        pair.allowed ? verdict(true, `${pair.allowed}`) : null));
    line.dataset.key = pair.key;
    return line;
  });
  const left = pairs.length - rows.length;
  return [away(notes), table(["From", "To", "Ports", "Flows"], rows), left > 0 ? note(`and ${left} more; filters show fewer`) : null];
}

function portsOf(pair) {
  const ports = [...new Set(pair.edges.map((edge) => portText(edge.protocol, edge.port)))];
  return ports.length > 3 ? `${ports.slice(0, 3).join(", ")} and ${ports.length - 3} more` : ports.join(", ");
}

// ---- one flow -----------------------------------------------------------------------

function endOfFlow(end, service, names, address) {
  if (end?.pod_name) return `${end.namespace}/${end.pod_name}`;
  if (service?.name) return `${service.namespace}/${service.name}`;
  if (names?.length) return names[0];
  const entity = (end?.labels ?? []).find((label) => label.startsWith("reserved:"));
  return entity ? `${address ?? ""} (${entity.slice(9)})` : address ?? "?";
}

function portOfFlow(flow) {
  const [[protocol, l4]] = Object.entries(flow.l4 ?? { "": {} });
  return portText(protocol, (protocol.startsWith("ICMP") ? l4.type : l4.destination_port) ?? 0);
}

function policiesOfFlow(flow) {
  return ["egress_allowed_by", "ingress_allowed_by", "egress_denied_by", "ingress_denied_by"]
    .flatMap((field) => flow[field] ?? [])
    .map((policy) => [policy.kind, policy.namespace, policy.name].filter(Boolean).join("/"));
}

/** Of which nodes flows are missing. */
function away(answer) {
  return (answer.away ?? []).length ? el("div", {}, ...answer.away.map(({ node, problem }) =>
    el("p", { class: "note" }, "No flows of node ", name(node, true), ": ", name(problem, true)))) : null;
}

export function flows(answer, problem, select) {
  if (!answer) return [note(problem || "Reading …")];
  const list = [...answer.flows].reverse();
  if (!list.length) return [note("No flows yet that match."), away(answer)];
  const rows = list.map((flow) => {
    const allowed = flow.verdict === "FORWARDED";
    const line = row(() => select(flow),
      el("td", { text: clock(Date.parse(flow.time)) }),
      nameCell(endOfFlow(flow.source, null, flow.source_names, flow.IP?.source)),
      nameCell(endOfFlow(flow.destination, flow.destination_service, flow.destination_names, flow.IP?.destination)),
      el("td", { text: portOfFlow(flow) }),
      el("td", {}, verdict(allowed, (flow.traffic_direction ?? "").toLowerCase())),
      nameCell(policiesOfFlow(flow).join(", ")));
    line.dataset.key = flow.uuid;
    return line;
  });
  return [answer.lost > 0 ? note(`${answer.lost} flows are missing: there were more than could be kept`) : null, away(answer),
    table(["Time", "Source", "Destination", "Port", "Verdict", "By"], rows)];
}

export function flow(one) {
  const source = one.source?.pod_name ? `${one.source.namespace}/${one.source.pod_name}` : one.IP?.source;
  const destination = one.destination?.pod_name ? `${one.destination.namespace}/${one.destination.pod_name}` : one.IP?.destination;
  const facts = [
    ["Time", one.time], ["Node", one.node_name], ["Source", `${source ?? ""} ${one.IP?.source ?? ""}`],
    ["Destination", `${destination ?? ""} ${one.IP?.destination ?? ""}`], ["Names", (one.destination_names ?? []).join(", ")],
    ["Port", portOfFlow(one)], ["Direction", (one.traffic_direction ?? "").toLowerCase()], ["Reason", one.drop_reason_desc],
    ["Decided by", policiesOfFlow(one).join(", ")], ["Log", (one.policy_log ?? []).join(", ")], ["Summary", one.Summary],
    ["Source labels", (one.source?.labels ?? []).join(", ")], ["Destination labels", (one.destination?.labels ?? []).join(", ")],
  ].filter(([, value]) => value);
  return [heading(verdict(one.verdict === "FORWARDED"), " ", name(source ?? "?", true), " → ", name(destination ?? "?", true)),
    el("table", {}, el("tbody", {}, ...facts.map(([what, value]) =>
      el("tr", {}, el("th", { text: what, scope: "row" }), el("td", {}, name(value, true)))))),
    explainBlock(source, destination, portOfFlow(one), true, one.destination_names ?? [])];
}

// ---- what is selected ---------------------------------------------------------------

/** "ICMPv4 type 8" as a question: "8/ICMP". */
function portQuestion(text) {
  return text.replace("ICMPv4", "ICMP").replace(/^(ICMP\w*) type (\d+)$/, "$2/$1");
}

/**
 * Answers of `explain` for one question: at once, or when the button is pressed.
 * `names`: by which the source knows the destination.
 */
function explainBlock(from, to, port, now = false, names = [], title = "By the policies in force now") {
  const block = el("div");
  const ask = async () => {
    block.replaceChildren(note("Asking …"));
    try {
      const answer = await get("explain", [["from", from], ["to", to], ["port", portQuestion(port)],
        ...names.map((each) => ["to-name", each])]);
      block.replaceChildren(title ? el("h3", { text: title }) : "",
        answer.summary ? el("p", {}, name(answer.summary, true)) : "", ...answer.sides.map(side));
    } catch (error) {
      block.replaceChildren(note(`No explanation: ${error.message}`));
    }
  };
  if (now) ask();
  else block.append(el("button", { type: "button", text: "Explain", on: { click: ask } }));
  return block;
}

function side(view) {
  const facts = [];
  const list = (title, items) => items?.length && facts.push(el("p", { text: title }),
    el("ul", {}, ...items.map((item) => el("li", {}, name(item, true)))));
  if (view.policy) facts.push(el("p", {}, "Rule ", name(`${view.policy}${view.path ? " " + view.path : ""}`, true)));
  if (view.pattern) facts.push(el("p", {}, "By the name ", name(view.pattern, true)));
  list("Isolated by", view.isolating);
  list("Nearly decided it", (view.near_misses ?? []).map((miss) =>
    `${miss.policy} ${miss.path} (${miss.action}): ${miss.differs}${miss.detail ? ", " + miss.detail : ""}`));
  list("Behind it", view.behind);
  const state = view.unknown ? "unknown" : view.judged ? (view.allowed ? "allowed" : "denied") : "has no policy of its own";
  return el("div", { class: `card ${view.allowed ? "yes" : "no"}` },
    el("div", {}, verdict(view.allowed, state), ` at ${view.direction} of `, name(view.endpoint, true), view.peer ? el("span", { class: "note" }, ` with ${visible(view.peer)}`) : "", view.reason ? ` (${view.reason})` : ""),
    view.unknown ? el("p", {}, name(view.unknown, true)) : null, ...facts);
}

export function pair(one, selectNode) {
  const edges = [...one.edges].sort((a, b) => (a.verdict === b.verdict ? b.last - a.last : a.verdict === "DROPPED" ? -1 : 1));
  const link = (node) => el("button", { type: "button", class: "link", on: { click: () => selectNode(node.key) } }, name(endText(node.end), true));
  return [heading(link(one.from), " → ", link(one.to)),
    ...edges.slice(0, 50).map((edge) => {
      const allowed = edge.verdict === "FORWARDED";
      const whole = one.from.end.type === "namespace" || one.to.end.type === "namespace";
      return el("div", { class: `card ${allowed ? "yes" : "no"}` },
        whole ? el("div", {}, name(endText(edge.from), true), " → ", name(endText(edge.to), true)) : null,
        el("div", {}, verdict(allowed), ` ${portText(edge.protocol, edge.port)} at ${edge.direction.toLowerCase()}`,
          edge.reason ? ` (${edge.reason})` : ""),
        edge.policies.length ? el("ul", {}, ...edge.policies.map((policy) => el("li", {}, name(policy, true)))) :
          note(allowed ? "No policy isolates this end." : "No policy: a rule of its own."),
        note(`${many(edge.flows, "flow")}, the last one at ${clock(edge.last)}`),
        explainBlock(edge.source, edge.destination, portText(edge.protocol, edge.port), edge === edges[0],
          edge.to.type === "name" ? [edge.to.name] : []));
    }),
    edges.length > 50 ? note(`and ${edges.length - 50} more`) : null];
}

export function workload(node, policies, problem, selectPair) {
  const { end } = node;
  const own = (policies ?? []).filter((policy) => policy.subjects.some((subject) =>
    subject.namespace === end.namespace && subject.kind === end.kind && subject.name === end.name));
  return [heading(name(endText(end), true)), note(underneath(end)),
    ...(end.type !== "workload" ? [] : [el("h3", { text: "Policies" }),
      ...(own.length ? own.map((one) => policy(one, true)) : [note(policies ? "No policy selects it." : problem || "Reading …")])]),
    el("h3", { text: "Connections" }), connectionsOf(node, selectPair)];
}

function connectionsOf(node, selectPair) {
  return table(["", "", "Ports", "Flows"], [...node.pairs].sort(byDenied).slice(0, 100).map((one) => {
    const out = one.from === node;
    return row(() => selectPair(one.key), el("td", { text: out ? "to" : "from" }),
      nameCell(endText(out ? one.to.end : one.from.end)), nameCell(portsOf(one)),
      el("td", {}, one.denied ? verdict(false, `${one.denied}`) : null, one.denied && one.allowed ? " " : null,
        one.allowed ? verdict(true, `${one.allowed}`) : null));
  }));
}

export function namespace(node, selectPair, open) {
  return [heading(name(node.end.name, true)), note("namespace"),
    el("p", {}, el("button", { type: "button", text: "Show its workloads", on: { click: open } })),
    el("h3", { text: "Connections" }), connectionsOf(node, selectPair)];
}

const unfolded = new Map(); // which policies' nodes the user has opened or closed

/** Where it is in force: one line if that is everywhere, else the nodes with the reasons. */
function nodesOf(one, open) {
  const { nodes_in_all: all, nodes_in_force: good } = one;
  if (!all) return null;
  const key = policyName(one);
  const left = all - one.nodes.length;
  return el("details", { open: unfolded.get(key) ?? (open || good < all) ? "" : undefined },
    el("summary", { on: { click: (event) => unfolded.set(key, !event.currentTarget.parentElement.open) } }, verdict(good === all, `in force on ${good} of ${many(all, "node")}`)),
    el("ul", { class: "nodes" }, ...one.nodes.map((node) => el("li", {}, verdict(!node.problem, ""), name(node.node, true),
      node.problem ? el("span", { class: "note" }, ": ", name(node.problem, true)) : null))),
    left > 0 ? note(`and ${many(left, "node")} more`) : null);
}

function policyName(one) {
  return [one.kind, one.namespace, one.name].filter(Boolean).join("/");
}

function policy(one, open) {
  const good = one.valid && one.in_force;
  return el("div", { class: `card ${good ? "yes" : "no"}` },
    el("div", {}, verdict(good, good ? "in force" : one.valid ? "not in force" : "invalid"), " ",
      name(policyName(one), true)),
    one.reason ? el("p", {}, name(one.reason, true)) : null,
    nodesOf(one, open),
    one.warnings.length ? el("ul", {}, ...one.warnings.map((warning) => el("li", {}, name(warning, true)))) : null,
    note(`${one.source}; selects ${many(one.subjects.length, "workload")}${one.more_subjects ? " or more" : ""}`));
}

export function policies(list, problem, namespace) {
  if (!list) return [note(problem || "Reading …")];
  const shown = list.filter((one) => !namespace || !one.namespace || one.namespace === namespace);
  return [problem ? note(problem) : null, ...(shown.length ? shown.map((one) => policy(one, false)) : [note("There are no policies.")])];
}

export function explain(from, to, port) {
  return explainBlock(from, to, port, true, [], "");
}
