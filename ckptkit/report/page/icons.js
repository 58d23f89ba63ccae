// The shapes of marks, on a field of 14 by 14 with its centre at 0, and the patterns of bars.

import { el, svg } from "./dom.js";

const FORMS = {
  dot: [["circle", { r: 4.2, class: "solid" }]],
  target: [["circle", { r: 5.6, class: "line" }], ["circle", { r: 2.8, class: "solid" }]],
  arrow: [["path", { d: "M-4-6.4V1.6q0 2 2 2h6M1.6 .4 5 3.6 1.6 6.8", class: "line" }]],
  ring: [["circle", { r: 3.8, class: "line" }]],
  struck: [["circle", { r: 5, class: "line" }], ["path", { d: "M-3.5 3.5 3.5-3.5", class: "line" }]],
  bell: [["path", { d: "M-5.5 3.5h11c-1.6-1.2-1.8-2.6-1.8-4.6C3.7-4 2.2-5.6 0-5.6S-3.7-4-3.7-1.1c0 2-.2 3.4-1.8 4.6z", class: "solid" }],
    ["path", { d: "M-1.6 5.2h3.2", class: "line" }]],
  bolt: [["path", { d: "M1.4-6.6-4.2.9h3.3L-1.6 6.6 4.2-1.3H.8z", class: "solid" }]],
  cross: [["path", { d: "M-4.4-4.4 4.4 4.4M4.4-4.4-4.4 4.4", class: "line thick" }]],
  octagon: [["path", { d: "M-2.6-6.2h5.2L6.2-2.6v5.2L2.6 6.2h-5.2L-6.2 2.6v-5.2z", class: "solid" }],
    ["path", { d: "M0-3.4v3.8M0 2.6v.8", class: "inverse" }]],
  back: [["path", { d: "M-4.8-2.6H1.6a3.6 3.6 0 0 1 0 7.2h-3", class: "line thick" }], ["path", { d: "M-2.4-5.8-5.6-2.6l3.2 3.2", class: "line thick" }]],
  speech: [["path", { d: "M-5.6-5.2h11.2v7.6H-.6l-3 3v-3h-2z", class: "solid" }]],
  pause: [["path", { d: "M-3-4.6v9.2M3-4.6v9.2", class: "line thick" }]],
  box: [["path", { d: "M-5-.6v5.6H5v-5.6M0 2.4v-8M-3-3 0-6l3 3", class: "line" }]],
  boxstruck: [["path", { d: "M-5-.6v5.6H5v-5.6M-2.6-5.6 2.6-.4M2.6-5.6-2.6-.4", class: "line" }]],
  flag: [["path", { d: "M-4.2 6.4V-6", class: "line thick" }], ["path", { d: "M-3.6-6H5.6L3.2-2.8 5.6.4h-9.2z", class: "solid" }]],
  square: [["path", { d: "M-4.4-4.4h8.8v8.8h-8.8z", class: "solid" }]],
  question: [["circle", { r: 6, class: "line" }], ["path", { d: "M-1.9-1.4c0-2.6 3.8-2.6 3.8-.2C1.9 0 0 0 0 1.4M0 3.3v.5", class: "line" }]],
  star: [["path", { d: "M0-6.4 1.7-1.8 6.4-1.7 2.7 1.2 4 5.8 0 3.1-4 5.8-2.7 1.2-6.4-1.7-1.7-1.8z", class: "solid" }]],
  diamond: [["path", { d: "M0-5 5 0 0 5-5 0z", class: "solid" }]],
  check: [["path", { d: "M-4.8.2-1.4 3.8 5-3.8", class: "line thick" }]],
  play: [["path", { d: "M-3.6-5.2 5 0l-8.6 5.2z", class: "solid" }]],
  pin: [["path", { d: "M-2.6-6h5.2l-.6 4.2L4 .8h-8l2-2.6zM0 .8v5.6", class: "line" }]],
};

export function form(name, tone) {
  return svg("g", { class: `form tone-${tone}` }, FORMS[name].map(([tag, attributes]) => svg(tag, attributes)));
}

// Returns a shape that stands in a line of text.
export function icon(name, tone) {
  return svg("svg", { class: "icon", viewBox: "-7 -7 14 14", width: 14, height: 14, "aria-hidden": "true" }, form(name, tone));
}

const LINES = {
  plain: "",
  empty: "",
  slant: "M-2 10 10-2M-6 6 6-6M2 14 14 2",
  back: "M-2-2 10 10M-6 2 6 14M2-6 14 6",
  rows: "M0 2h8M0 6h8",
  columns: "M2 0v8M6 0v8",
  grid: "M0 4h8M4 0v8",
  waves: "M0 3q2-3 4 0t4 0M0 7q2-3 4 0t4 0",
  dots: "M2 2h.01M6 6h.01",
  rings: "M4 2a2 2 0 1 0 .01 0",
  sparse: "M4 4h.01",
};

// Returns the patterns for all bars of a drawing. Each drawing needs its own: browsers do not paint a
// pattern whose definition is in a hidden drawing.
export function patterns(prefix, parts) {
  return svg("defs", null, Object.entries(parts).map(([kind, [, lines]]) =>
    svg("pattern", { id: `${prefix}-${kind}`, width: 8, height: 8, patternUnits: "userSpaceOnUse" },
      svg("rect", { width: 8, height: 8, class: `part-${kind}` }),
      LINES[lines] && svg("path", { d: LINES[lines], class: `hatch ${lines}` }))));
}

export function swatch(prefix, kind) {
  return el("span", { class: "swatch" }, svg("svg", { width: 22, height: 14, "aria-hidden": "true" },
    svg("rect", { x: 0.5, y: 0.5, width: 21, height: 13, rx: 2, fill: `url(#${prefix}-${kind})`, class: "edge" })));
}
