// The timeline: a row with phases and marks for each attempt, and arrows from checkpoints to the
// attempts that resumed from them.

import { el, onWidth, section, svg } from "./dom.js";
import { form, icon, patterns } from "./icons.js";
import { APART, capitalise, grouped, marksIn, lines, title } from "./groups.js";
import { marksLegend } from "./summary.js";
import { PARTS, PHASES, STATES, markOf } from "./kinds.js";
import { overview, tools } from "./overview.js";
import { moveByArrowKeys } from "./keyboard.js";
import { busy, makeScale, ticks } from "./scale.js";
import { explain } from "./tooltip.js";
import { makeView } from "./view.js";
import { clock, count, day, duration, group, moment } from "./format.js";

const ROW = 46;
const BAR = { top: 19, height: 11 };
const EVENTS = 10;
const SAVES = 37;
const EDGE = 20;
const AXIS = 34;

export function timeline(doc) {
  if (doc.attempts.length === 0) {
    return section("timeline", "Attempts", el("p", { class: "quiet" }, "No process has trained this run yet."));
  }
  const view = makeView(doc);
  const active = busy(doc.attempts.map((attempt) => [attempt.began, attempt.ended]));
  const caption = el("p", { class: "quiet", role: "status" });
  const plot = el("div", { class: "plot" });
  const draw = (width) => {
    const rows = view.rows();
    caption.textContent = sentence(doc, view, rows);
    return chart(doc, view, active, rows, width);
  };
  onWidth(plot, draw);
  view.onChange("chart", () => plot.replaceChildren(draw(Math.floor(plot.clientWidth))));
  return section("timeline", "Attempts",
    tools(doc, view), doc.attempts.length > 1 && overview(doc, view, active), caption,
    el("div", { class: "scroll", role: "group", "aria-label": "One row for each attempt. The arrow keys move between rows and marks." }, plot),
    marksLegend(doc));
}

function sentence(doc, view, rows) {
  const which = rows.length === doc.attempts.length ? count(rows.length, "attempt") : rows.length === 0 ? "No attempt"
    : `${rows.length === 1 ? "Attempt" : "Attempts"} ${rows[0].number}${rows.length > 1 ? `–${rows.at(-1).number}` : ""}, ${group(rows.length)} of ${group(doc.attempts.length)}`;
  return `${which}, ${moment(view.from)} to ${moment(view.to)}`;
}

function chart(doc, view, active, rows, width) {
  const labels = width < 620 ? 64 : 168;
  const room = width - labels;
  const scale = makeScale(active, view.from, view.to, room - 2 * EDGE, view.shorten);
  const x = (at) => EDGE + scale.x(at);
  const place = new Map(rows.map((attempt, number) => [attempt.number, number * ROW]));
  const height = rows.length * ROW + 6;
  const picture = svg("svg", { width: room, height, class: "rows" }, patterns("rows", PARTS), arrowhead());
  const shortened = breaks(scale, height);
  const between = interventions(doc, view, x, height);
  const links = arrows(doc, view, place, x);
  picture.append(stripes(rows, room), ...shortened, grid(scale, height), ...between, ...links.values());
  const focusable = rows.map((attempt) => row(picture, attempt, links.get(attempt.number), place.get(attempt.number), view, x, doc));
  moveByArrowKeys(picture, [...focusable, [...shortened, ...between]]);
  return el("div", { class: "chart", style: { "--labels": `${labels}px` } },
    el("div", { class: "axis" }, el("div", { class: "corner" }), axis(scale, room)),
    el("div", { class: "body" }, el("ol", { class: "labels" }, rows.map((attempt) => label(attempt, doc, view, width < 620))), picture));
}

function label(attempt, doc, view, narrow) {
  const [shape, tone] = STATES[attempt.outcome] ?? STATES.unknown;
  const zoom = () => view.show([attempt]);
  const life = attempt.life < doc.run.life ? `, life ${attempt.life}` : "";
  return el("li", { style: { height: `${ROW}px` }, "data-attempt": attempt.number },
    el("button", { type: "button", class: "plain", on: { click: zoom }, "aria-label": `Attempt ${attempt.number}, ${attempt.outcome}: show it alone`,
      title: "Show this attempt alone" },
    icon(shape, tone), el("b", null, `#${attempt.number}`), !narrow && el("span", null, `${attempt.outcome}${life}`),
    !narrow && el("small", null, attempt.host)));
}

function stripes(rows, room) {
  return svg("g", { "aria-hidden": "true" }, rows.map((_, number) => number % 2 === 1
    && svg("rect", { x: 0, y: number * ROW, width: room, height: ROW, class: "stripe" })));
}

function grid(scale, height) {
  return svg("g", { class: "grid", "aria-hidden": "true" }, ticks(scale).ticks.map(({ x }) => svg("path", { d: `M${Math.round(EDGE + x) + 0.5} 0V${height}` })));
}

function breaks(scale, height) {
  return scale.pieces.filter((piece) => piece.broken).map((piece) => {
    const a = EDGE + piece.x0 + 4;
    const b = EDGE + piece.x1 - 4;
    const text = `${duration(piece.to - piece.from)} in which nothing ran`;
    return explain(svg("g", { role: "img", tabindex: -1, class: "break" },
      svg("rect", { x: a, y: 0, width: b - a, height }), svg("path", { d: `M${a} 0V${height}M${b} 0V${height}` })), text,
    () => ({ title: text, lines: [`${moment(piece.from)} to ${moment(piece.to)}`, "The line is shortened here."] }));
  });
}

function axis(scale, room) {
  const { ticks: found, step } = ticks(scale);
  const picture = svg("svg", { width: room, height: AXIS, class: "scale", "aria-hidden": "true" });
  const gaps = scale.pieces.filter((piece) => piece.broken).map((piece) => ({ secs: piece.to - piece.from, left: EDGE + (piece.x0 + piece.x1) / 2 }));
  let shown = "";
  for (const { at, x } of found) {
    const left = EDGE + x;
    if (left > room - 30 || gaps.some((gap) => Math.abs(gap.left - left) < 42)) continue;
    const fine = step < 1 ? `${clock(at, true)}.${String(Math.round((at % 1) * 1000)).padStart(3, "0")}` : clock(at, step < 60);
    picture.append(svg("path", { d: `M${Math.round(left) + 0.5} ${AXIS - 5}v5` }),
      svg("text", { x: left, y: AXIS - 9, "text-anchor": left < 40 && (step < 1 || step >= 86400) ? "start" : "middle" }, step >= 86400 ? day(at) : fine));
    if (step < 86400 && day(at) !== shown) {
      shown = day(at);
      picture.append(svg("text", { x: left, y: 11, "text-anchor": left < 40 ? "start" : "middle", class: "day" }, shown));
    }
  }
  let last = -100;
  for (const { secs, left } of gaps) {
    if (left - last < 44) continue;
    last = left;
    picture.append(svg("text", { x: left, y: AXIS - 9, "text-anchor": "middle", class: "gap" }, duration(secs).split(" ").slice(0, 2).join(" ")));
  }
  return picture;
}

function interventions(doc, view, x, height) {
  return doc.interventions.filter(inView(view)).map((mark) => {
    const [name, , shape, tone] = markOf(mark.kind);
    const at = x(mark.at);
    return explain(svg("g", { class: "intervention", role: "img", tabindex: -1 }, svg("path", { d: `M${at} 0V${height}` }),
      svg("rect", { x: at - 6, y: 0, width: 12, height, class: "target" }),
      svg("g", { transform: `translate(${at} 8)` }, form(shape, tone))), `${capitalise(name)}: ${mark.words}`,
    () => ({ title: capitalise(name), lines: [mark.words, moment(mark.at)] }));
  });
}

function arrowhead() {
  return svg("marker", { id: "arrowhead", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" },
    svg("path", { d: "M0 .8 7.4 4 0 7.2z", class: "head" }));
}

// Returns an arrow for each link: down from the checkpoint, and along the row of the attempt that
// resumed from it.
function arrows(doc, view, place, x) {
  const found = new Map();
  for (const link of doc.links) {
    const to = place.get(link.to_attempt);
    if (to === undefined) continue;
    const target = doc.attempts.find((attempt) => attempt.number === link.to_attempt);
    const from = place.get(link.from_attempt);
    const source = doc.attempts.find((attempt) => attempt.number === link.from_attempt);
    // If no journal records the save, it happened before the end of its attempt.
    const saved = link.saved_at ?? source?.ended;
    const inside = from !== undefined && saved >= view.from && saved <= view.to;
    const end = x(target.began) - 2;
    const y = to + BAR.top + BAR.height / 2;
    const start = inside ? x(saved) : 0;
    if (target.began < view.from || (!inside && end <= 1)) continue;
    const d = !inside ? `M0 ${y}H${end}` : end > start + 12 ? `M${start} ${from + SAVES + 7}V${y - 6}Q${start} ${y} ${start + 6} ${y}H${end}`
      : `M${start} ${from + SAVES + 7}V${to + BAR.top - 1}`; // no room for a curve: straight down
    const text = `Attempt ${link.to_attempt} resumed from ${link.checkpoint}`;
    found.set(link.to_attempt, explain(svg("g", { role: "img", tabindex: -1, class: "link", "data-checkpoint": link.checkpoint, "data-to": link.to_attempt },
      svg("path", { d, class: "arrow", "marker-end": "url(#arrowhead)" }), svg("path", { d, class: "target" })), text,
    () => ({ title: text, lines: [`step ${group(link.step)}, saved by attempt ${link.from_attempt}${link.saved_at === null ? "" : ` at ${moment(link.saved_at)}`}`,
      `its state was assigned at ${moment(link.resumed_at)}`] })));
  }
  return found;
}

function row(picture, attempt, link, top, view, x, doc) {
  const from = Math.max(attempt.began, view.from);
  const to = Math.min(attempt.ended, view.to);
  const [x0, x1] = [x(from), Math.max(x(to), x(from) + 3)];
  const bar = svg("g", { class: "attempt", role: "img", tabindex: -1, "data-attempt": attempt.number });
  for (const phase of attempt.phases) {
    if (phase.ended < view.from || phase.began > view.to) continue;
    const left = x(Math.max(phase.began, view.from));
    const right = x(Math.min(phase.ended, view.to));
    if (right - left < 0.3) continue; // visible after zooming in
    bar.append(svg("rect", { x: left, y: top + BAR.top, width: Math.max(right - left, 1), height: BAR.height, fill: `url(#rows-${PHASES[phase.kind]?.[1] ?? "other"})`,
      "data-phase": phase.kind }));
  }
  const thin = x1 - x0 < 6; // an outline would cover all of it
  bar.append(svg("rect", { x: x0, y: top + BAR.top, width: x1 - x0, height: BAR.height, rx: 1.5, fill: thin ? "url(#rows-productive)" : "none",
    class: `outline${attempt.is_open ? " open" : ""}${thin ? " thin" : ""}` }));
  if (attempt.is_open && attempt.ended <= view.to) bar.append(svg("g", { transform: `translate(${x1 + 7} ${top + BAR.top + BAR.height / 2})` }, form("play", "good")));
  explain(bar, `Attempt ${attempt.number}, ${attempt.cause}`, () => ({ title: `Attempt ${attempt.number}: ${attempt.outcome}`, lines: about(attempt, doc) }));
  picture.append(bar);
  const events = grouped(marksIn(attempt, "events").filter(inView(view)), (at) => x(at), APART + 3).map((found) => eventMark(found, attempt, top));
  const saves = saveMarks(attempt, doc, view, x, top);
  picture.append(...saves, ...events);
  return [bar, ...(link ? [link] : []), ...events, ...saves].sort((a, b) => Number(a.dataset.x ?? x0) - Number(b.dataset.x ?? x0));
}

const inView = (view) => (mark) => mark.at >= view.from && mark.at <= view.to;

function about(attempt, doc) {
  const spent = new Map();
  for (const phase of attempt.phases) spent.set(phase.kind, (spent.get(phase.kind) ?? 0) + phase.ended - phase.began);
  const words = [...spent].map(([kind, secs]) => `${PHASES[kind]?.[0] ?? kind} ${duration(secs)}`).join(", ");
  const facts = [attempt.cause, `${moment(attempt.began)}, for ${duration(attempt.ended - attempt.began)}, on ${attempt.host} (process ${attempt.pid})`];
  facts.push(attempt.resumed_from ? `resumed from ${attempt.resumed_from}` : "began at step 0");
  facts.push(`steps ${group(attempt.first_step)} to ${group(attempt.last_step)}${attempt.steps_lost ? `, of which ${group(attempt.steps_lost)} were lost` : ""}`);
  facts.push(`${count(attempt.saves, "save")}${attempt.stall_secs > 0 ? `, training stopped ${duration(attempt.stall_secs)} for them` : ""}`);
  if (attempt.saves_dropped || attempt.saves_failed) facts.push(`${group(attempt.saves_dropped)} skipped, ${group(attempt.saves_failed)} failed`);
  if (words) facts.push(words);
  if (attempt.life < doc.run.life) facts.push(`of an earlier life (${attempt.life})`);
  return facts;
}

function badge(number) {
  const text = number > 999 ? "999+" : String(number);
  return svg("text", { x: 8, y: -2, class: "badge-number" }, text);
}

function eventMark(found, attempt, top) {
  const [, , shape, tone] = markOf(found.kind);
  const at = (found.x0 + found.x1) / 2;
  return explain(svg("g", { class: "mark", role: "img", tabindex: -1, "data-kind": found.kind, "data-count": found.count, "data-x": at,
    transform: `translate(${at} ${top + EVENTS})` },
  svg("rect", { x: -8, y: -9, width: 16, height: 18, class: "target" }), form(shape, tone), found.count > 1 && badge(found.count)),
  title(found), () => ({ title: title(found), lines: lines(found, attempt) }));
}

// Returns the marks of saves. A checkpoint from which an attempt resumed has a mark of its own; other
// overlapping saves share a mark beside it.
function saveMarks(attempt, doc, view, x, top) {
  const chosen = new Set(doc.links.filter((link) => link.from_attempt === attempt.number).map((link) => link.checkpoint));
  const marks = marksIn(attempt, "saves").filter(inView(view));
  const special = marks.filter((mark) => chosen.has(mark.checkpoint)).map((mark) => ({ x0: x(mark.at), x1: x(mark.at), marks: [mark], count: mark.count, kind: "saved" }));
  const plain = grouped(marks.filter((mark) => !chosen.has(mark.checkpoint)), x, 9);
  const places = plain.map((found) => extentOf(found, special));
  return [...plain.map((found, number) => saveMark(found, places[number], attempt, top, false)),
    ...special.map((found) => saveMark(found, [found.x0 - 6, found.x1 + 6], attempt, top, true))];
}

// Returns the extent of a group: wide enough for its number, and clear of marks of their own.
function extentOf(found, special) {
  const least = found.count > 1 ? group(found.count).length * 6.5 + 9 : 8.4;
  const middle = (found.x0 + found.x1) / 2;
  const half = Math.max(found.x1 - found.x0 + 7, least) / 2;
  let [left, right] = [middle - half, middle + half];
  for (const { x0 } of special) {
    if (x0 + 7 <= left || x0 - 7 >= right) continue;
    if (x0 >= middle) [left, right] = [Math.min(left, x0 - 7 - least), x0 - 7];
    else [left, right] = [x0 + 7, Math.max(right, x0 + 7 + least)];
  }
  return [left, right];
}

function saveMark(found, [left, right], attempt, top, resumed) {
  const wide = right - left;
  const shape = resumed ? [svg("rect", { x: -6, y: -8, width: 12, height: 16, class: "target" }), form("target", "resumed")]
    : found.count > 1 ? [svg("rect", { x: -wide / 2, y: -5.5, width: wide, height: 11, rx: 5.5, class: "pill" }), svg("text", { y: 3.4, "text-anchor": "middle", class: "pill-number" }, group(found.count))]
      : [svg("rect", { x: -6, y: -8, width: 12, height: 16, class: "target" }), form("dot", "save")];
  return explain(svg("g", { class: resumed ? "mark saved resumed" : "mark saved", role: "img", tabindex: -1, "data-kind": "saved", "data-count": found.count,
    "data-x": (left + right) / 2, "data-checkpoint": found.marks[0].checkpoint, transform: `translate(${(left + right) / 2} ${top + SAVES})` }, shape), title(found),
  () => ({ title: title(found), lines: [...(resumed ? ["A later attempt resumed from it."] : []), ...lines(found, attempt)] }));
}
