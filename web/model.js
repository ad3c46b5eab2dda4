// SPDX-License-Identifier: Apache-2.0
// The edges that the server has told of, and the map that they make.

/** One text for one end. What is outside is another end as a source than as a destination. */
export function keyOf(end, role) {
  const outside = end.type === "entity" || end.type === "name";
  return JSON.stringify([end.type, end.namespace, end.kind, end.name, outside ? role : ""]);
}

export class Model {
  constructor() { this.forget(); }

  forget() {
    this.view = "0";
    this.after = 0;
    this.edges = new Map(); // id: edge
    this.flows = 0;
    this.lost = 0;
    this.away = []; // nodes of which flows are missing: {node, problem}
  }

  /** Takes an answer of /api/edges. True if it has changed anything. */
  take(answer) {
    const before = this.edges.size;
    if (answer.reset) this.edges.clear();
    this.view = answer.view;
    this.after = answer.after;
    this.flows = answer.flows;
    this.lost = answer.lost;
    const away = answer.away ?? [];
    const moved = JSON.stringify(away) !== JSON.stringify(this.away);
    this.away = away;
    for (const edge of answer.edges) {
      const from = answer.ends[edge.from], to = answer.ends[edge.to];
      this.edges.set(edge.id, { ...edge, from, to, fromKey: keyOf(from, "from"), toKey: keyOf(to, "to") });
    }
    if (answer.oldest > 0) {
      for (const [id, edge] of this.edges) if (edge.changed < answer.oldest) this.edges.delete(id);
    }
    return answer.reset || moved || answer.edges.length > 0 || this.edges.size !== before;
  }

  /**
   * Nodes and the pairs of them that have edges, of edges that were seen after `since` (milliseconds).
   * `grouped`: what is in a namespace is one node with all else that is there.
   */
  graph(since, grouped = false) {
    const nodes = new Map();
    const pairs = new Map();
    const nodeOf = (key, end) => {
      if (!nodes.has(key)) nodes.set(key, { key, end, pairs: [] });
      return nodes.get(key);
    };
    const groupOf = (name) => nodeOf(`namespace ${name}`, { type: "namespace", namespace: "", kind: "", name });
    for (const edge of this.edges.values()) {
      if (edge.last < since) continue;
      const from = grouped && edge.from.namespace ? groupOf(edge.from.namespace) : nodeOf(edge.fromKey, edge.from);
      const to = grouped && edge.to.namespace ? groupOf(edge.to.namespace) : nodeOf(edge.toKey, edge.to);
      const key = `${from.key} ${to.key}`;
      let pair = pairs.get(key);
      if (!pair) {
        pair = { key, from, to, edges: [], allowed: 0, denied: 0, last: 0 };
        pairs.set(key, pair);
        from.pairs.push(pair);
        if (to !== from) to.pairs.push(pair);
      }
      pair.edges.push(edge);
      pair[edge.verdict === "FORWARDED" ? "allowed" : "denied"] += edge.flows;
      pair.last = Math.max(pair.last, edge.last);
    }
    return { nodes, pairs, grouped };
  }
}
