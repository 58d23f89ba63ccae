// The overview: the whole run on one line, a frame around the visible time, and the buttons beside it.

import { button, el, onWidth, svg } from "./dom.js";
import { patterns } from "./icons.js";
import { PARTS, PHASES } from "./kinds.js";
import { makeScale } from "./scale.js";
import { moment } from "./format.js";

const HEIGHT = 30;
const EDGE = 8;

export function tools(doc, view) {
  const shorten = button("Shorten gaps", view.shorten, () => {
    view.change({ shorten: !view.shorten });
    shorten.setAttribute("aria-pressed", String(view.shorten));
  });
  const plain = (text, label, handler, id) => button(text, null, handler, { "aria-label": label, title: label, "data-tool": id });
  return el("div", { class: "tools", role: "toolbar", "aria-label": "Visible part of the time" },
    plain("Whole run", "Show the whole run", view.whole, "whole"),
    view.many && plain("Newest", "Show the newest attempts", view.newest, "newest"),
    plain("‹", "Earlier", () => view.move(-0.5), "earlier"), plain("›", "Later", () => view.move(0.5), "later"),
    plain("+", "Closer", () => view.zoom(0.5), "closer"), plain("−", "Wider", () => view.zoom(2), "wider"), shorten);
}

export function overview(doc, view, active) {
  const strip = el("div", { class: "overview" });
  return onWidth(strip, (width) => draw(doc, view, active, width));
}

function draw(doc, view, active, width) {
  const room = width - 2 * EDGE;
  const scale = makeScale(active, view.began, view.ended, room, true);
  const x = (at) => EDGE + scale.x(at);
  const picture = svg("svg", { width, height: HEIGHT, role: "group", "aria-label": "The whole run; the frame marks the time that is shown below" }, patterns("overview", PARTS));
  picture.append(svg("rect", { x: EDGE, y: 8, width: room, height: 14, class: "lane" }), svg("g", { "aria-hidden": "true" }, spans(doc, x)));
  const left = svg("rect", { y: 0, x: 0, height: HEIGHT, class: "shade" });
  const right = svg("rect", { y: 0, height: HEIGHT, class: "shade" });
  const frame = svg("rect", { y: 1, height: HEIGHT - 2, rx: 3, class: "frame" });
  const handles = [handle(view, "from"), handle(view, "to")];
  picture.append(left, right, frame, ...handles);
  const update = () => {
    const [a, b] = [x(view.from), Math.max(x(view.to), x(view.from) + 2)];
    left.setAttribute("width", a);
    right.setAttribute("x", b);
    right.setAttribute("width", Math.max(0, width - b));
    frame.setAttribute("x", a);
    frame.setAttribute("width", b - a);
    for (const [node, end] of [[handles[0], a], [handles[1], b]]) {
      node.setAttribute("transform", `translate(${end} 0)`);
      const at = node.dataset.end === "from" ? view.from : view.to;
      node.setAttribute("aria-valuenow", Math.round(((at - view.began) / (view.ended - view.began)) * 1000) / 10);
      node.setAttribute("aria-valuetext", moment(at));
    }
  };
  drag(picture, handles, view, (px) => scale.moment(Math.max(0, Math.min(room, px - EDGE))));
  view.onChange("overview", update);
  update();
  return picture;
}

// Joins adjacent phases of one kind, and leaves out phases shorter than a pixel if they would cover
// others. A run of years would need tens of thousands of rectangles otherwise.
function spans(doc, x) {
  const found = [];
  let last = null;
  for (const attempt of doc.attempts) {
    for (const phase of attempt.phases) {
      const part = PHASES[phase.kind]?.[1] ?? "other";
      const [a, b] = [x(phase.began), x(phase.ended)];
      if (last && last.part === part && a - last.b < 0.5) last.b = Math.max(last.b, b);
      else if (b - a >= 0.4 || !last || a - last.b >= 0.4) found.push(last = { part, a, b: Math.max(b, a + 0.6) });
    }
  }
  return found.map(({ part, a, b }) => svg("rect", { x: a, y: 8, width: b - a, height: 14, fill: `url(#overview-${part})` }));
}

function handle(view, end) {
  const by = (part) => (view.ended - view.began) * part;
  const node = svg("g", { class: "handle", tabindex: 0, role: "slider", "data-end": end, "aria-orientation": "horizontal", "aria-valuemin": 0, "aria-valuemax": 100,
    "aria-label": end === "from" ? "Beginning of the visible time" : "End of the visible time" },
  svg("rect", { x: -9, y: 0, width: 18, height: HEIGHT, class: "target" }), svg("rect", { x: -3, y: 6, width: 6, height: HEIGHT - 12, rx: 3, class: "grip" }));
  node.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: by(-0.01), ArrowRight: by(0.01), PageDown: by(-0.1), PageUp: by(0.1) };
    const to = { Home: view.began, End: view.ended }[event.key] ?? (event.key in steps ? view[end] + steps[event.key] : null);
    if (to === null) return;
    event.preventDefault();
    moveEnd(view, end, to);
  });
  return node;
}

function moveEnd(view, end, to) {
  if (end === "from") view.change({ from: Math.max(view.began, Math.min(to, view.to)) });
  else view.change({ to: Math.min(view.ended, Math.max(to, view.from)) });
}

// Dragging a handle moves that end of the frame; dragging elsewhere draws a new frame. A click
// without a movement moves the frame there.
function drag(picture, handles, view, moment) {
  picture.addEventListener("pointerdown", (event) => {
    const own = handles.find((node) => node.contains(event.target));
    const place = (each) => moment(each.clientX - picture.getBoundingClientRect().left);
    const began = place(event);
    let moved = false;
    picture.setPointerCapture(event.pointerId);
    event.preventDefault();
    const move = (each) => {
      moved = moved || Math.abs(each.clientX - event.clientX) > 3;
      if (!moved) return;
      const to = place(each);
      if (own) moveEnd(view, own.dataset.end, to);
      else view.change({ from: Math.min(began, to), to: Math.max(began, to) });
    };
    const end = () => {
      picture.removeEventListener("pointermove", move);
      if (!moved && !own) {
        const half = (view.to - view.from) / 2;
        view.change({ from: began - half, to: began + half });
      }
    };
    picture.addEventListener("pointermove", move);
    picture.addEventListener("pointerup", end, { once: true });
    picture.addEventListener("pointercancel", end, { once: true });
  });
}
