// SPDX-License-Identifier: Apache-2.0
// Who may reach whom in a namespace, by the rules: a row for each source, a column for each destination.
import { get } from "./api.js";
import { explain } from "./panels.js";
import { el, endText, name, verdict } from "./text.js";

const text = (workload) => endText(workload).slice(workload.namespace.length + 1);

function cell(view, source, destination, open) {
  const named = (bits) => view.ports.filter((_, bit) => bits & (1 << bit));
  const allowed = named(view.allowed[source][destination]);
  const some = named(view.some[source][destination]);
  const all = allowed.length === view.ports.length;
  const label = `${text(view.workloads[source])} to ${text(view.workloads[destination])}: ` +
    `${allowed.length ? allowed.join(", ") : "nothing"} allowed` + (some.length ? `, ${some.join(", ")} for some pods` : "");
  return el("td", {}, el("button", {
    type: "button", class: all ? "all" : allowed.length || some.length ? "some" : "", "aria-label": label,
    text: all ? "✓" : allowed.length || some.length ? `${allowed.length}${some.length ? "+" : ""}` : "✕", on: { click: () => open(source, destination) },
  }));
}

function matrix(view, details) {
  const open = (source, destination) => {
    const is = (bits, bit) => Boolean(bits[source][destination] & (1 << bit));
    details.replaceChildren(
      el("h2", {}, name(text(view.workloads[source]), true), " → ", name(text(view.workloads[destination]), true)),
      ...view.ports.map((port, bit) => el("section", {},
        el("h3", {}, is(view.some, bit) ? "some pods" : verdict(is(view.allowed, bit)), ` ${port}`),
        explain(view.pods[source], view.last_pods[destination], port))));
    details.focus();
  };
  return el("table", { class: "matrix" },
    el("thead", {}, el("tr", {}, el("td"), ...view.workloads.map((workload) =>
      el("th", { scope: "col" }, el("div", { class: "turn" }, name(text(workload))))))),
    el("tbody", {}, ...view.workloads.map((workload, source) => el("tr", {},
      el("th", { scope: "row" }, name(text(workload))),
      ...view.workloads.map((_, destination) => cell(view, source, destination, open))))));
}

/** Fills `place`. `ports`: "80/TCP, 53/UDP"; `change(ports)`: the user wants others. */
export async function show(place, namespace, ports, change) {
  const input = el("input", { value: ports, size: "30", placeholder: "80/TCP, 53/UDP", "aria-label": "Ports" });
  const form = el("form", {}, el("label", {}, "Ports ", input), el("button", { type: "submit", text: "Show" }));
  form.addEventListener("submit", (event) => { event.preventDefault(); change(input.value.trim()); });
  const body = el("div");
  place.replaceChildren(form, body);
  if (!namespace) {
    body.append(el("p", { class: "note", text: "Choose a namespace." }));
    return;
  }
  body.append(el("p", { class: "note", text: "Asking …" }));
  try {
    const wanted = ports.split(",").map((port) => port.trim()).filter(Boolean);
    const view = await get("reach", [["namespace", namespace], ...wanted.map((port) => ["port", port])]);
    if (!view.ports.length || !view.workloads.length) {
      body.replaceChildren(el("p", { class: "note", text: view.workloads.length ?
        "No pod of this namespace names a port. Enter the ports that the table is about." : "This namespace has no pods with a network of their own." }));
      return;
    }
    const details = el("div", { tabindex: "-1" }, el("p", { class: "note", text: "A number says how many of the ports are allowed, and “+” that only some pods may use the others. Choose a cell to see which." }));
    body.replaceChildren(
      el("p", { class: "note", text: `By the policies, not by traffic; rows reach columns, at ${view.ports.join(", ")}.` +
        (view.more ? ` The first ${view.workloads.length} workloads.` : "") }),
      el("div", { class: "grid" }, el("div", { class: "scroll" }, matrix(view, details)), details));
  } catch (error) {
    body.replaceChildren(el("p", { class: "note", text: error.message }));
  }
}
