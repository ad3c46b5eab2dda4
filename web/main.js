// SPDX-License-Identifier: Apache-2.0
// The page: its address is its state; it asks the server again and again for what has changed.
import { get } from "./api.js";
import { NAMES, namespaceOf, read, write } from "./filters.js";
import { ServiceMap, underneath } from "./map.js";
import { Model } from "./model.js";
import * as panels from "./panels.js";
import * as reach from "./reach.js";
import { el, endText, name, visible } from "./text.js";

const EDGES_MS = 1000;
const FLOWS_MS = 2000;
const POLICIES_MS = 10000;
const AFTER_FAILURE_MS = 5000;
const REST = 10; // times as long as an answer has taken, at least, before the next question for all of it
const TABS = ["connections", "flows", "policies", "details"];
const AGE_BY_DEFAULT = "300";
const GROUP_FROM = 150; // nodes of all namespaces: then these are the nodes

const $ = (id) => document.getElementById(id);
const model = new Model();
let state = read(location.search);
let graph = { nodes: new Map(), pairs: new Map() };
let flows = null;
let policies = null;
let policiesAt = 0;
let policiesProblem = "";
let selection = null; // {node}, {pair} by key, or {flow}
let paused = false;
let generation = 0; // of the filters: answers to others are not for us
let problem = "";
let about = null;

// ---- what is shown ------------------------------------------------------------------

const map = new ServiceMap($("canvas"), $("tip"), (node, pair) =>
  choose(node ? { node: node.key } : pair ? { pair: pair.key } : null));

function choose(chosen) {
  selection = chosen;
  map.select(chosen?.node ?? chosen?.pair ?? "");
  const node = graph.nodes.get(chosen?.node);
  $("said").textContent = node ? `${visible(endText(node.end))}, ${underneath(node.end)}, ${node.pairs.length} connections` : "";
  openTab(chosen ? "details" : "connections");
}

function tab() {
  return TABS.includes(state.own.tab) ? state.own.tab : "connections";
}

function openTab(which) {
  state.own.tab = which === "connections" ? "" : which;
  remember();
  renderPanel();
  if (which === "flows") askFlows();
}

function details() {
  const node = graph.nodes.get(selection?.node);
  const pair = graph.pairs.get(selection?.pair);
  if (node?.end.type === "namespace") {
    return panels.namespace(node, (key) => choose({ pair: key }), () => setNamespace(node.end.name));
  }
  if (node) return panels.workload(node, policies, policiesProblem, (key) => choose({ pair: key }));
  if (pair) return panels.pair(pair, (key) => choose({ node: key }));
  if (selection?.flow) return panels.flow(selection.flow);
  return [el("p", { class: "note", text: "Choose a workload or a line of the map, or a row of a list." })];
}

function renderPanel() {
  for (const each of TABS) {
    $(`tab-${each}`).setAttribute("aria-selected", String(each === tab()));
    $(`tab-${each}`).tabIndex = each === tab() ? 0 : -1;
  }
  $("panel").setAttribute("aria-labelledby", `tab-${tab()}`);
  const content = {
    connections: () => panels.connections(graph, model, (key) => choose({ pair: key })),
    flows: () => panels.flows(flows, problem, (flow) => choose({ flow })),
    policies: () => panels.policies(policies, policiesProblem, namespaceOf(state.filters)),
    details,
  }[tab()]();
  const focused = $("panel").contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  $("panel").replaceChildren(...content.filter(Boolean));
  if (focused !== undefined) {
    [...$("panel").querySelectorAll("[data-key]")].find((each) => each.dataset.key === focused)?.focus();
  }
}

function renderMap() {
  const age = Number(state.own.age ?? AGE_BY_DEFAULT);
  const since = state.own.age === "all" ? 0 : Date.now() - age * 1000;
  graph = model.graph(since, state.own.group === "yes");
  if (graph.nodes.size > GROUP_FROM && !state.own.group && !namespaceOf(state.filters)) graph = model.graph(since, true);
  $("group").checked = graph.grouped;
  map.show(graph);
  renderStatus();
  if (tab() === "connections") renderPanel();
}

function renderStatus() {
  $("empty").hidden = graph.nodes.size > 0 || Boolean(problem);
  $("status").classList.toggle("bad", Boolean(problem));
  $("status").textContent = problem ||
    [about && visible(about.node), ...(state.own.view === "reach" ? [] : [
      `${graph.nodes.size} ${graph.grouped ? "namespaces and ends outside" : "ends"}`, `${graph.pairs.size} connections`,
      `${model.flows} flows`, model.lost && `${model.lost} missing`,
      model.away.length && `no flows of ${model.away.length === 1 ? visible(model.away[0].node) : `${model.away.length} nodes`}`])].filter(Boolean).join(" · ");
}

function renderFilters() {
  const namespace = namespaceOf(state.filters);
  $("namespace").value = namespace;
  $("age").value = state.own.age === "all" ? "" : state.own.age ?? AGE_BY_DEFAULT;
  $("chips").replaceChildren(...state.filters
    .filter((filter) => !(filter.name === "namespace" && filter.value === namespace && !filter.not))
    .map((filter) => el("li", { class: filter.not ? "chip not" : "chip" }, 
      el("span", { class: "what" }, `${filter.not ? "not " : ""}${filter.name} `, name(filter.value)),
      el("button", {
        type: "button", text: "×", "aria-label": `Remove the filter ${filter.name} ${visible(filter.value)}`,
        on: { click: () => setFilters(state.filters.filter((each) => each !== filter)) },
      }))));
}

function renderViews() {
  const isReach = state.own.view === "reach";
  $("map-view").hidden = isReach;
  $("reach-view").hidden = !isReach;
  $("filters").hidden = isReach;
  $("pause").hidden = isReach; // nothing moves there
  $("show-map").setAttribute("aria-pressed", String(!isReach));
  $("show-reach").setAttribute("aria-pressed", String(isReach));
  if (isReach) {
    reach.show($("reach-view"), namespaceOf(state.filters), state.own.ports ?? "", (ports) => {
      state.own.ports = ports;
      remember();
      renderViews();
    });
  }
  renderStatus();
}

// ---- the address --------------------------------------------------------------------

function remember(push = false) {
  const query = new URLSearchParams(write(state.filters, state.own)).toString();
  history[push ? "pushState" : "replaceState"](null, "", query ? `/?${query}` : "/");
}

function setFilters(filters) {
  state.filters = filters;
  remember(true);
  restart();
}

function setNamespace(value) {
  const others = state.filters.filter((filter) => filter.name !== "namespace" || filter.not);
  state.own.group = "";
  state.own.tab = "";
  setFilters(value ? [{ name: "namespace", value, not: false }, ...others] : others);
}

/** Shows what the address says, from nothing. */
function restart() {
  ++generation;
  model.forget();
  flows = null;
  selection = state.own.tab === "details" ? selection : null;
  $("filter-error").textContent = "";
  map.moved = false;
  renderFilters();
  renderViews();
  renderMap();
  renderPanel();
  askEdges();
  askFlows();
}

// ---- the server ---------------------------------------------------------------------

async function ask(path, query, take) {
  const asked = generation;
  try {
    const answer = await get(path, query);
    if (asked !== generation) return false;
    problem = "";
    take(answer);
    return true;
  } catch (error) {
    if (asked !== generation) return false;
    if (error.status === 400) $("filter-error").textContent = error.message;
    else problem = `${error.status ? error.message : "no answer"}; asking again`;
    return false;
  } finally {
    renderStatus();
  }
}

let edgesTimer = 0;
async function askEdges() {
  clearTimeout(edgesTimer);
  const mine = generation;
  let more = false, failed = false;
  if (!paused && !document.hidden && state.own.view !== "reach") {
    const query = write(state.filters).concat([["view", model.view], ["after", String(model.after)]]);
    failed = !await ask("edges", query, (answer) => {
      more = answer.more;
      if (model.take(answer) || graph.nodes.size) renderMap();
      if (!more) document.documentElement.dataset.ready = "yes";
    });
  }
  if (mine === generation) edgesTimer = setTimeout(askEdges, failed ? AFTER_FAILURE_MS : more ? 0 : EDGES_MS);
}

let flowsTimer = 0;
async function askFlows() {
  clearTimeout(flowsTimer);
  const mine = generation;
  const begun = performance.now();
  if (!paused && !document.hidden && tab() === "flows") {
    await ask("flows", write(state.filters).concat([["last", "200"]]), (answer) => {
      flows = answer;
      if (tab() === "flows") renderPanel();
    });
  }
  if (mine === generation) flowsTimer = setTimeout(askFlows, Math.max(FLOWS_MS, REST * (performance.now() - begun)));
}

async function askPolicies() {
  const begun = performance.now();
  if (!document.hidden) {
    const first = !policiesAt;
    try {
      policies = (await get("policies")).policies;
      policiesAt = Date.now();
      policiesProblem = "";
      fillNamespaces((await get("namespaces")).namespaces);
    } catch (error) { // askEdges() says so if there is no answer at all
      policiesProblem = error.status ? error.message : "";
    }
    if (tab() === "policies" || (tab() === "details" && selection?.node && first)) renderPanel();
  }
  setTimeout(askPolicies, Math.max(POLICIES_MS, REST * (performance.now() - begun)));
}

function fillNamespaces(names) {
  const chosen = namespaceOf(state.filters);
  const all = [...new Set(chosen ? [...names, chosen] : names)].sort();
  const now = [...$("namespace").options].slice(1).map((option) => option.value);
  if (all.join() !== now.join()) {
    $("namespace").replaceChildren(el("option", { value: "", text: "all" }), ...all.map((each) => el("option", { value: each, text: visible(each) })));
  }
  $("namespace").value = chosen;
}

// ---- the user -----------------------------------------------------------------------

$("filter-name").append(...NAMES.map((each) => el("option", { value: each, text: each })));
$("namespace").append(el("option", { value: "", text: "all" }));
$("namespace").addEventListener("change", () => setNamespace($("namespace").value));
$("group").addEventListener("change", () => {
  state.own.group = $("group").checked ? "yes" : "no";
  remember();
  map.moved = false;
  renderMap();
});
$("filters").addEventListener("submit", (event) => {
  event.preventDefault();
  const filter = { name: $("filter-name").value, value: $("filter-value").value.trim(), not: $("filter-not").checked };
  $("filter-value").value = "";
  $("filter-not").checked = false;
  if (filter.value) setFilters([...state.filters, filter]);
});
$("age").addEventListener("change", () => {
  state.own.age = $("age").value || "all";
  remember();
  map.moved = false;
  renderMap();
});
$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
});
for (const [id, view] of [["show-map", ""], ["show-reach", "reach"]]) {
  $(id).addEventListener("click", () => {
    state.own.view = view;
    remember(true);
    renderViews();
    renderMap();
    askEdges();
  });
}
for (const each of TABS) {
  $(`tab-${each}`).addEventListener("click", () => openTab(each));
  $(`tab-${each}`).addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = TABS[(TABS.indexOf(each) + step + TABS.length) % TABS.length];
    openTab(next);
    $(`tab-${next}`).focus();
  });
}
$("zoom-in").addEventListener("click", () => map.zoom(1.25));
$("zoom-out").addEventListener("click", () => map.zoom(0.8));
$("fit").addEventListener("click", () => map.fit());
addEventListener("popstate", () => { state = read(location.search); restart(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) { askEdges(); askFlows(); } });

get("status").then((answer) => { about = answer; renderStatus(); }, () => {});
restart();
askPolicies();
