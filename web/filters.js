// SPDX-License-Identifier: Apache-2.0
// Filters have the names of the options of `sluice observe`, and are the query of the page's own address.

export const NAMES = [
  "pod", "from-pod", "to-pod", "workload", "from-workload", "to-workload", "namespace", "from-namespace", "to-namespace",
  "label", "from-label", "to-label", "service", "to-service", "fqdn", "to-fqdn", "ip", "from-ip", "to-ip",
  "identity", "from-identity", "to-identity", "port", "to-port", "protocol", "verdict", "drop-reason-desc",
  "traffic-direction", "type", "tcp-flags", "ip-version", "node-name", "uuid", "from-service", "from-fqdn", "from-port",
];
const KNOWN = new Set(NAMES);
const OWN = ["view", "tab", "age", "group", "ports"];

/** {filters: [{name, value, not}], own: {view, tab, age, group, ports}} of an address's query. */
export function read(search) {
  const filters = [];
  const own = {};
  let not = false;
  for (const [name, value] of new URLSearchParams(search)) {
    if (name === "not") { not = true; continue; }
    if (KNOWN.has(name)) filters.push({ name, value, not });
    else if (OWN.includes(name)) own[name] = value;
    not = false;
  }
  return { filters, own };
}

/** Pairs for a query, of the page or the server. */
export function write(filters, own = {}) {
  const query = [];
  for (const { name, value, not } of filters) {
    if (not) query.push(["not", ""]);
    query.push([name, value]);
  }
  return query.concat(Object.entries(own).filter(([, value]) => value));
}

/** The namespace whose map is shown; "" for all. */
export function namespaceOf(filters) {
  const chosen = filters.filter((filter) => filter.name === "namespace" && !filter.not);
  return chosen.length === 1 ? chosen[0].value : "";
}
