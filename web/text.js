// SPDX-License-Identifier: Apache-2.0
// Elements with text of unknown origin. Names of pods, policies and DNS may be anything:
// they are only ever text, isolated from what stands around them, and cut if they are long.

/** An element; `text` is text. `options`: properties, of which class, data and on are special. */
export function el(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(options)) {
    if (key === "class") element.className = value;
    else if (key === "text") element.textContent = value;
    else if (key === "on") for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    else if (value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

/** A name from elsewhere: on one line, with the whole of it as its title. */
export function name(text, wrap = false) {
  return el("bdi", { class: wrap ? "wrap" : "cut", text, title: visible(text) });
}

// Characters that change the order of others, or are not seen.
const STEERING = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

/** The text for places where nothing isolates it: titles and the canvas. */
export function visible(text) {
  return text.replace(STEERING, "\ufffd");
}

export function verdict(allowed, text = allowed ? "allowed" : "denied") {
  return el("span", { class: `verdict ${allowed ? "yes" : "no"}`, text: `${allowed ? "✓" : "✕"} ${text}` });
}

export function clock(milliseconds) {
  return new Date(milliseconds).toLocaleTimeString([], { hour12: false });
}

export function portText(protocol, port) {
  if (!protocol) return "any";
  return protocol.startsWith("ICMP") ? `${protocol} type ${port}` : `${port}/${protocol}`;
}

/** "shop/web", or the name alone. */
export function endText(end) {
  return end.namespace ? `${end.namespace}/${end.name}` : end.name;
}

/** A row that works like a button. */
export function row(activate, ...cells) {
  return el("tr", {
    class: "row", tabindex: "0",
    on: {
      click: activate,
      keydown: (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); activate(); }
      },
    },
  }, ...cells);
}

export function table(heads, rows) {
  return el("table", {},
    el("thead", {}, el("tr", {}, ...heads.map((text) => el("th", { text, scope: "col" })))),
    el("tbody", {}, ...rows));
}
