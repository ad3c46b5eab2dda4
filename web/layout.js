// SPDX-License-Identifier: Apache-2.0
// Places the nodes of a map in layers from left to right, in the direction of most connections.
// The same graph always gets the same places.

export const WIDTH = 190;
export const HEIGHT = 34;
const GAP_X = 90;
const GAP_Y = 14;
const STRETCH_MAX = 3; // of the gaps between rows, if there is room
const SWEEPS = 8;
const LAYERS_MAX = 7;

/** Successors of each node without pairs that close a circle, and without loops. */
function acyclic(nodes) {
  const state = new Map(); // 1: on the way, 2: done
  const next = new Map(nodes.map((node) => [node, []]));
  const out = (node) => node.pairs.filter((pair) => pair.from === node && pair.to !== node).map((pair) => pair.to);
  for (const root of nodes) {
    if (state.has(root)) continue;
    const stack = [{ node: root, rest: out(root) }];
    state.set(root, 1);
    while (stack.length) {
      const top = stack[stack.length - 1];
      const to = top.rest.pop();
      if (to === undefined) {
        state.set(top.node, 2);
        stack.pop();
      } else if (state.get(to) !== 1) {
        next.get(top.node).push(to);
        if (!state.has(to)) {
          state.set(to, 1);
          stack.push({ node: to, rest: out(to) });
        }
      }
    }
  }
  return next;
}

/** Layer by the longest way to a node, or by the shortest one where that would be too many layers. */
function layersOf(nodes) {
  const next = acyclic(nodes);
  const left = new Map(nodes.map((node) => [node, 0]));
  for (const tos of next.values()) for (const to of tos) left.set(to, left.get(to) + 1);
  const ready = nodes.filter((node) => left.get(node) === 0);
  const longest = new Map(ready.map((node) => [node, 0]));
  const shortest = new Map(longest);
  for (let i = 0; i < ready.length; ++i) {
    for (const to of next.get(ready[i])) {
      longest.set(to, Math.max(longest.get(to) ?? 0, longest.get(ready[i]) + 1));
      shortest.set(to, Math.min(shortest.get(to) ?? Infinity, shortest.get(ready[i]) + 1));
      left.set(to, left.get(to) - 1);
      if (left.get(to) === 0) ready.push(to);
    }
  }
  const rank = Math.max(0, ...longest.values()) < LAYERS_MAX ? longest : shortest;
  const layers = [];
  for (const node of nodes) (layers[rank.get(node)] ??= []).push(node);
  return layers.filter(Boolean);
}

/** Orders layers so that few lines cross: each node at the mean place of its neighbours. */
function order(layers) {
  const place = new Map();
  const note = (layer) => layer.forEach((node, at) => place.set(node, at / Math.max(1, layer.length - 1)));
  layers.forEach(note);
  for (let sweep = 0; sweep < SWEEPS; ++sweep) {
    for (const layer of sweep % 2 ? [...layers].reverse() : layers) {
      const wanted = new Map(layer.map((node) => {
        const others = node.pairs.map((pair) => (pair.from === node ? pair.to : pair.from)).filter((o) => o !== node);
        const sum = others.reduce((total, other) => total + place.get(other), 0);
        return [node, others.length ? sum / others.length : place.get(node)];
      }));
      layer.sort((a, b) => wanted.get(a) - wanted.get(b) || (a.key < b.key ? -1 : 1));
      note(layer);
    }
  }
}

/** Gives every node x and y (of its middle), and returns the size of the whole. */
export function layout(nodes, aspect = 1.6) {
  const sorted = [...nodes].sort((a, b) => (a.key < b.key ? -1 : 1));
  const layers = layersOf(sorted);
  order(layers);
  // As many rows as give the whole about the shape of the screen.
  const stepX = WIDTH + GAP_X;
  const stepY = HEIGHT + GAP_Y;
  const rows = Math.max(8, Math.ceil(Math.sqrt((sorted.length * stepX) / (stepY * aspect))));
  const columns = [];
  for (const layer of layers) {
    const count = Math.ceil(layer.length / rows);
    const size = Math.ceil(layer.length / count);
    for (let i = 0; i < count; ++i) columns.push(layer.slice(i * size, (i + 1) * size));
  }
  const tallest = Math.max(0, ...columns.map((column) => column.length));
  const width = Math.max(WIDTH, columns.length * stepX - GAP_X);
  const stretch = Math.max(1, Math.min(STRETCH_MAX, width / aspect / (tallest * stepY)));
  columns.forEach((column, at) => column.forEach((node, row) => {
    node.x = at * stepX + WIDTH / 2;
    node.y = (row + (tallest - column.length) / 2) * stepY * stretch + HEIGHT / 2;
  }));
  return { width, height: Math.max(HEIGHT, (tallest - 1) * stepY * stretch + HEIGHT) };
}
