// SPDX-License-Identifier: Apache-2.0
// The map on a canvas: nodes in layers, one line for each pair and verdict. Draws when something has changed.
import { HEIGHT, WIDTH, layout } from "./layout.js";
import { endText, visible } from "./text.js";

const SCALE_MIN = 0.05;
const SCALE_MAX = 2.5;
const TEXT_FROM_SCALE = 0.4; // below, names are too small to read
const NEAR_PX = 6;
const MANY_PAIRS = 800; // from which on lines are straight and thin: they are drawn ten times as fast
const REST_MS = 150; // without a move, after which the lines are drawn anew
const FONT = "13px system-ui, sans-serif";
const SMALL = "11px system-ui, sans-serif";

/** Ends and control points of the line from one node to another. */
function curveOf(from, to) {
  if (from === to) {
    const x = from.x + WIDTH / 2, y = from.y;
    return [x, y - 8, x + 46, y - 34, x + 46, y + 34, x, y + 8];
  }
  const y0 = from.y, y3 = to.y;
  if (Math.abs(to.x - from.x) < WIDTH) { // in one column: around its right side
    const x = from.x + WIDTH / 2, bulge = 40 + Math.min(60, Math.abs(y3 - y0) / 8);
    return [x, y0, x + bulge, y0, x + bulge, y3, x, y3];
  }
  const right = to.x > from.x ? 1 : -1;
  const x0 = from.x + (right * WIDTH) / 2, x3 = to.x - (right * WIDTH) / 2;
  const bend = (Math.abs(x3 - x0) / 2) * right;
  const sag = right < 0 ? HEIGHT : 0; // backwards: below the lines forwards
  return [x0, y0 + sag / 4, x0 + bend, y0 + sag, x3 - bend, y3 + sag, x3, y3 + sag / 4];
}

function pointAt([x0, y0, x1, y1, x2, y2, x3, y3], t) {
  const u = 1 - t, a = u * u * u, b = 3 * u * u * t, c = 3 * u * t * t, d = t * t * t;
  return [a * x0 + b * x1 + c * x2 + d * x3, a * y0 + b * y1 + c * y2 + d * y3];
}

export class ServiceMap {
  /** `onSelect(node, pair)`: one of them, or neither. */
  constructor(canvas, tip, onSelect) {
    this.canvas = canvas;
    this.tip = tip;
    this.onSelect = onSelect;
    this.context = canvas.getContext("2d");
    this.nodes = [];
    this.pairs = [];
    this.selected = ""; // key of a node or a pair
    this.hovered = null;
    this.scale = 1;
    this.x = 0; // of the screen's left upper corner
    this.y = 0;
    this.moved = false; // by the user; the view stays then
    this.fitted = new Map(); // text: as much of it as fits
    this.layer = document.createElement("canvas"); // all lines, as they were drawn last
    this.layerView = null; // {x, y, scale} of them; null: they have changed
    this.movedAt = 0;
    this.listen();
    this.readColours();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { this.readColours(); this.layerView = null; this.redraw(); });
    new ResizeObserver(() => { if (!this.moved) this.fit(); this.layerView = null; this.redraw(); }).observe(canvas);
  }

  readColours() {
    const style = getComputedStyle(document.documentElement);
    this.colours = Object.fromEntries(["ground", "paper", "ink", "faint", "line", "soft", "accent", "allowed", "denied",
      "service", "outside"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }

  /** Shows another graph; nodes stay where they are if there are no others. */
  show(graph) {
    const old = new Map(this.nodes.map((node) => [node.key, node]));
    this.nodes = [...graph.nodes.values()];
    this.pairs = [...graph.pairs.values()];
    this.byKey = new Map([...graph.nodes, ...graph.pairs]);
    const same = this.nodes.length === old.size && this.nodes.every((node) => old.has(node.key));
    if (same) {
      for (const node of this.nodes) ({ x: node.x, y: node.y } = old.get(node.key));
    } else {
      this.size = layout(this.nodes, this.canvas.clientWidth / Math.max(1, this.canvas.clientHeight));
      this.fitted.clear();
      if (!this.moved) this.fit();
    }
    for (const pair of this.pairs) pair.curve = curveOf(pair.from, pair.to);
    if (!this.byKey.has(this.selected)) this.selected = "";
    this.layerView = null;
    this.redraw();
  }

  select(key) {
    this.selected = this.byKey?.has(key) ? key : "";
    this.redraw();
  }

  fit() {
    if (!this.size) return;
    const margin = 24, width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    if (!width || !height) return;
    this.scale = Math.min(1.2, (width - 2 * margin) / this.size.width, (height - 2 * margin - 20) / this.size.height);
    this.scale = Math.max(SCALE_MIN, this.scale);
    this.x = (this.size.width - width / this.scale) / 2;
    this.y = (this.size.height - height / this.scale) / 2;
    this.moved = false;
    this.redraw();
  }

  zoom(factor, px = this.canvas.clientWidth / 2, py = this.canvas.clientHeight / 2) {
    const scale = Math.min(SCALE_MAX, Math.max(SCALE_MIN, this.scale * factor));
    this.x += px / this.scale - px / scale;
    this.y += py / this.scale - py / scale;
    this.scale = scale;
    this.onMove();
  }

  onMove() {
    this.moved = true;
    this.movedAt = performance.now();
    this.redraw();
  }

  redraw() {
    this.frame ??= requestAnimationFrame(() => { this.frame = undefined; this.draw(); });
  }

  draw() {
    const { canvas, context: c } = this;
    const ratio = devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) {
      for (const each of [canvas, this.layer]) { each.width = width; each.height = height; }
      this.layerView = null;
    }
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, width, height);
    const chosen = this.byKey?.get(this.hovered ?? "") ?? this.byKey?.get(this.selected);
    this.drawLayer(ratio, chosen ? 0.12 : 1);
    this.look(c, ratio);
    const bright = chosen ? this.pairs.filter((pair) => pair === chosen || pair.from === chosen || pair.to === chosen) : [];
    this.drawPairs(c, bright, 0.95, true);
    const lit = new Set(chosen ? bright.flatMap((pair) => [pair.from, pair.to]).concat(chosen.end ? [chosen] : []) : this.nodes);
    for (const node of this.nodes) this.drawNode(node, lit.has(node));
  }

  look(context, ratio) {
    const k = this.scale * ratio;
    context.setTransform(k, 0, 0, k, -this.x * k, -this.y * k);
  }

  /** All lines: while the view moves over many of them, a picture of them moves along. */
  drawLayer(ratio, alpha) {
    const { context: c, layer } = this;
    const many = this.pairs.length > MANY_PAIRS;
    const view = this.layerView;
    const same = view && view.x === this.x && view.y === this.y && view.scale === this.scale;
    const moving = many && view && !same && performance.now() - this.movedAt < REST_MS;
    if (moving) {
      clearTimeout(this.rest);
      this.rest = setTimeout(() => this.redraw(), REST_MS);
    } else if (!same) {
      const to = layer.getContext("2d");
      to.setTransform(1, 0, 0, 1, 0, 0);
      to.clearRect(0, 0, layer.width, layer.height);
      this.look(to, ratio);
      const faint = Math.max(0.12, Math.min(0.85, 120 / Math.max(1, this.pairs.length)));
      if (many) this.drawMany(to, faint);
      else this.drawPairs(to, this.pairs, faint, this.pairs.length < MANY_PAIRS / 2);
      this.layerView = { x: this.x, y: this.y, scale: this.scale };
    }
    c.globalAlpha = alpha;
    const { x, y, scale } = this.layerView;
    const grown = this.scale / scale;
    c.setTransform(grown, 0, 0, grown, (x - this.x) * this.scale * ratio, (y - this.y) * this.scale * ratio);
    if (layer.width && layer.height) c.drawImage(layer, 0, 0);
    c.globalAlpha = 1;
  }

  drawMany(c, alpha) {
    c.globalAlpha = alpha;
    c.lineWidth = 1 / this.scale;
    for (const kind of ["allowed", "denied"]) {
      c.strokeStyle = this.colours[kind];
      c.beginPath();
      for (const pair of this.pairs) {
        if (!pair[kind]) continue;
        c.moveTo(pair.curve[0], pair.curve[1]);
        c.lineTo(pair.curve[6], pair.curve[7]);
      }
      c.stroke();
    }
    c.globalAlpha = 1;
  }

  drawPairs(c, pairs, alpha, arrows) {
    const { colours } = this;
    c.globalAlpha = alpha;
    for (const kind of ["allowed", "denied"]) {
      for (const weight of [1, 2, 3]) {
        c.beginPath();
        const heads = [];
        for (const pair of pairs) {
          const flows = pair[kind];
          if (!flows || Math.min(3, 1 + Math.floor(Math.log10(flows) / 1.5)) !== weight) continue;
          const shift = pair.allowed && pair.denied ? (kind === "allowed" ? -3 : 3) : 0;
          const [x0, y0, x1, y1, x2, y2, x3, y3] = pair.curve;
          c.moveTo(x0, y0 + shift);
          c.bezierCurveTo(x1, y1 + shift, x2, y2 + shift, x3, y3 + shift);
          if (arrows) heads.push([x3, y3 + shift, Math.sign(x3 - x2) || -1]);
        }
        c.strokeStyle = c.fillStyle = colours[kind];
        c.lineWidth = (weight + 0.4) / Math.max(0.5, Math.min(1, this.scale));
        c.setLineDash(kind === "denied" ? [6, 4] : []);
        c.stroke();
        c.setLineDash([]);
        c.beginPath();
        for (const [x, y, way] of heads) {
          c.moveTo(x, y);
          c.lineTo(x - way * 9, y - 4.5);
          c.lineTo(x - way * 9, y + 4.5);
        }
        c.fill();
      }
    }
    c.globalAlpha = 1;
  }

  drawNode(node, lit) {
    const { context: c, colours } = this;
    const x = node.x - WIDTH / 2, y = node.y - HEIGHT / 2;
    if (x > this.x + this.canvas.clientWidth / this.scale || x + WIDTH < this.x ||
        y > this.y + this.canvas.clientHeight / this.scale || y + HEIGHT < this.y) return;
    c.globalAlpha = lit ? 1 : 0.25;
    c.fillStyle = colours.paper;
    c.strokeStyle = node.key === this.selected ? colours.accent : colours.line;
    c.lineWidth = node.key === this.selected ? 2.5 : 1;
    c.beginPath();
    c.roundRect(x, y, WIDTH, HEIGHT, 6);
    c.fill();
    c.stroke();
    const { type } = node.end;
    c.fillStyle = type === "workload" || type === "namespace" ? colours.accent : type === "service" ? colours.service : colours.outside;
    c.fillRect(x + 1, y + 5, 4, HEIGHT - 10);
    if (this.scale >= TEXT_FROM_SCALE) {
      c.fillStyle = colours.ink;
      c.font = FONT;
      c.fillText(this.fitText(node.end.name, FONT), x + 12, y + 14.5);
      c.fillStyle = colours.faint;
      c.font = SMALL;
      c.fillText(this.fitText(underneath(node.end), SMALL), x + 12, y + 28);
    }
    c.globalAlpha = 1;
  }

  /** As much as fits into a node, isolated from what stands around it. */
  fitText(text, font) {
    const key = font + text;
    let result = this.fitted.get(key);
    if (result === undefined) {
      const most = WIDTH - 20;
      const characters = [...visible(text)].slice(0, 80);
      let cut = characters.length < [...text].length;
      while (characters.length && this.context.measureText(characters.join("") + (cut ? "…" : "")).width > most) {
        characters.pop();
        cut = true;
      }
      result = "\u2068" + characters.join("") + (cut ? "…" : "") + "\u2069";
      this.fitted.set(key, result);
    }
    return result;
  }

  /** The node or pair at a point of the canvas. */
  at(px, py) {
    const x = px / this.scale + this.x, y = py / this.scale + this.y;
    const node = this.nodes.find((n) => Math.abs(n.x - x) <= WIDTH / 2 && Math.abs(n.y - y) <= HEIGHT / 2);
    if (node) return node;
    let best = null, nearest = (NEAR_PX / this.scale) ** 2;
    for (const pair of this.pairs) {
      const [x0, , x1, , x2, , x3] = pair.curve;
      if (x < Math.min(x0, x1, x2, x3) - 8 || x > Math.max(x0, x1, x2, x3) + 8) continue;
      let before = pointAt(pair.curve, 0);
      for (let i = 1; i <= 20; ++i) {
        const point = pointAt(pair.curve, i / 20);
        const dx = point[0] - before[0], dy = point[1] - before[1];
        const t = Math.max(0, Math.min(1, ((x - before[0]) * dx + (y - before[1]) * dy) / (dx * dx + dy * dy || 1)));
        const far = (x - before[0] - t * dx) ** 2 + (y - before[1] - t * dy) ** 2;
        if (far < nearest) { nearest = far; best = pair; }
        before = point;
      }
    }
    return best;
  }

  listen() {
    const { canvas } = this;
    let drag = null;
    canvas.addEventListener("pointerdown", (event) => {
      drag = { x: event.offsetX, y: event.offsetY, far: false };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!drag) {
        this.pointer = [event.offsetX, event.offsetY];
        this.hovering ??= requestAnimationFrame(() => { this.hovering = undefined; this.hover(...this.pointer); });
        return;
      }
      const dx = event.offsetX - drag.x, dy = event.offsetY - drag.y;
      if (!drag.far && Math.hypot(dx, dy) < 4) return;
      Object.assign(drag, { x: event.offsetX, y: event.offsetY, far: true });
      this.x -= dx / this.scale;
      this.y -= dy / this.scale;
      this.onMove();
    });
    canvas.addEventListener("pointerup", (event) => {
      if (drag && !drag.far) this.choose(this.at(event.offsetX, event.offsetY));
      drag = null;
    });
    canvas.addEventListener("pointercancel", () => { drag = null; });
    canvas.addEventListener("pointerleave", () => {
      cancelAnimationFrame(this.hovering);
      this.hovering = undefined;
      this.hovered = null;
      this.tip.hidden = true;
      this.redraw();
    });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => this.onKey(event));
  }

  hover(px, py) {
    const found = this.at(px, py);
    this.canvas.style.cursor = found ? "pointer" : "grab";
    if ((found?.key ?? null) !== this.hovered) {
      this.hovered = found?.key ?? null;
      this.redraw();
    }
    this.tip.hidden = !found;
    if (!found) return;
    this.tip.textContent = found.end ? `${visible(endText(found.end))}\n${underneath(found.end)}` :
      `${visible(endText(found.from.end))} \u2192 ${visible(endText(found.to.end))}\n` +
      `${found.allowed} allowed, ${found.denied} denied`;
    this.tip.style.left = `${Math.max(0, Math.min(px + 14, this.canvas.clientWidth - this.tip.offsetWidth - 8))}px`;
    this.tip.style.top = `${Math.max(0, Math.min(py + 14, this.canvas.clientHeight - this.tip.offsetHeight - 8))}px`;
  }

  choose(found) {
    this.selected = found?.key ?? "";
    this.redraw();
    this.onSelect(found?.end ? found : null, found?.curve ? found : null);
  }

  onKey(event) {
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const keys = {
      "+": () => this.zoom(1.25), "=": () => this.zoom(1.25), "-": () => this.zoom(0.8), "0": () => this.fit(),
      Escape: () => this.choose(null),
      Enter: () => this.byKey?.get(this.selected)?.end && this.choose(this.byKey.get(this.selected)),
    };
    if (ways[event.key]) this.step(...ways[event.key]);
    else if (keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
  }

  /** Selects the next node in a direction. */
  step(dx, dy) {
    const selected = this.byKey?.get(this.selected);
    const from = selected?.end ? selected : null;
    let best = from ? null : this.nodes[0], nearest = Infinity;
    for (const node of from ? this.nodes : []) {
      const along = (node.x - from.x) * dx + (node.y - from.y) * dy;
      const across = Math.abs((node.x - from.x) * dy) + Math.abs((node.y - from.y) * dx);
      if (along > 1 && along + 2 * across < nearest) { nearest = along + 2 * across; best = node; }
    }
    if (!best) return;
    if (this.nodes.length > 60 && this.scale < TEXT_FROM_SCALE) this.scale = 0.8;
    const width = this.canvas.clientWidth / this.scale, height = this.canvas.clientHeight / this.scale;
    if (best.x < this.x + WIDTH || best.x > this.x + width - WIDTH || best.y < this.y + HEIGHT || best.y > this.y + height - HEIGHT) {
      this.x = best.x - width / 2;
      this.y = best.y - height / 2;
      this.moved = true;
    }
    this.choose(best);
  }
}

/** What kind of end it is, in the second line of its node. */
export function underneath(end) {
  if (end.type === "entity") return "entity";
  if (end.type === "namespace") return "namespace";
  if (end.type === "name") return "DNS name";
  return `${end.namespace} · ${end.kind}`;
}
