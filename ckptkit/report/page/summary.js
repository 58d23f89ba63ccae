// The beginning of the report: state, remarks, important numbers, and where the wall time went.

import { el, onWidth, section, short, svg } from "./dom.js";
import { icon, patterns, swatch } from "./icons.js";
import { MARKS, PARTS, STATES, UNMARKED, markOf } from "./kinds.js";
import { themeSwitch } from "./theme.js";
import { explain } from "./tooltip.js";
import { count, duration, group, moment, percent, size, zone } from "./format.js";

export function header(doc, root) {
  const [form, tone] = STATES[doc.run.state] ?? STATES.unknown;
  return el("header", null,
    el("div", { class: "top" },
      el("div", null, el("p", { class: "kicker" }, "Training run"), el("h1", null, doc.run.name)),
      themeSwitch(root)),
    el("p", { class: "state" }, el("span", { class: `badge tone-${tone}` }, icon(form, tone), doc.run.state), el("span", { class: "words" }, doc.run.words)),
    el("p", { class: "quiet" }, el("code", null, doc.run.directory), ` · read at ${moment(doc.made_at)} (${zone()}) · ${doc.made_by}`),
    doc.remarks.length > 0 && el("ul", { class: "remarks", "aria-label": "Remarks" },
      doc.remarks.map((remark) => el("li", { class: `remark-${remark.kind}` }, icon("octagon", "warn"), el("span", null, short(remark.words))))));
}

function endings(doc) {
  const found = Object.entries(doc.totals.endings);
  return found.map(([outcome, number]) => `${group(number)} ${outcome}`).join(", ") || "none yet";
}

// A process that was killed could not report its last steps, so what is known of them is a lower bound.
function lost(doc) {
  const { totals } = doc;
  const more = doc.attempts.some((each) => each.life === doc.run.life && each.outcome === "dead"
    && each.phases.some((phase) => phase.kind === "training" || phase.kind === "lost"));
  const words = totals.steps_lost ? `${duration(totals.lost_secs)} of training to repeat`
    : more ? "a killed process may have lost steps" : "no step was lost";
  const steps = count(totals.steps_lost, "step");
  return ["lost", "Lost", totals.steps_lost ? (more ? `at least ${steps}` : steps) : more ? "not known" : "nothing", words];
}

export function tiles(doc) {
  const { totals, wall_time: wall } = doc;
  const newest = doc.checkpoints.find((row) => row.name === totals.newest_good);
  const training = wall.parts.find((part) => part.kind === "productive")?.secs ?? 0;
  const found = [
    ["goodput", "Goodput", percent(wall.ratio), "of the wall time went into steps that count"],
    ["wall-time", "Wall time", duration(wall.secs), wall.began === null ? "nothing has begun" : `since ${moment(wall.began)}`],
    ["attempts", "Attempts", group(totals.attempts), endings(doc)],
    ["newest", "Newest good step", newest ? group(newest.step) : "none",
      newest ? `${newest.saved_at === null ? "" : `${duration(Math.max(0, doc.made_at - newest.saved_at))} old · `}${newest.name}` : "no checkpoint is good"],
    lost(doc),
    ["stall", "Stopped for saves", duration(totals.stall_secs),
      `${count(totals.saves, "save")}${training > 0 ? ` · ${percent(totals.stall_secs / (training + totals.stall_secs))} of training` : ""}`],
    ["size", "Size on disk", size(doc.disk.reduce((sum, each) => sum + each.size_bytes, 0)), `${count(totals.checkpoints, "checkpoint")} in it`],
  ];
  return el("dl", { class: "tiles" }, found.map(([id, name, value, words]) =>
    el("div", { class: "tile", id: `tile-${id}` }, el("dt", null, name), el("dd", { class: "value" }, value), el("dd", { class: "quiet" }, words))));
}

const HEIGHT = 40;

// Every part has at least two pixels, so that short ones can be seen and pointed at.
function wallBar(wall, parts, width) {
  const least = 2;
  const room = width - parts.length * least;
  const bar = svg("svg", { width, height: HEIGHT, role: "group", "aria-label": "Wall time by what it was spent on" }, patterns("wall", PARTS));
  let x = 0;
  for (const part of parts) {
    const wide = least + (part.secs / wall.secs) * room;
    const name = partName(part);
    bar.append(explain(svg("rect", { x, y: 0, width: wide, height: HEIGHT, fill: `url(#wall-${known(part)})`, class: "segment", role: "img",
      tabindex: 0, "data-part": part.kind }), `${name}: ${duration(part.secs)}, ${percent(part.secs / wall.secs)}`,
    () => ({ title: `${name}: ${duration(part.secs)}`, lines: [`${percent(part.secs / wall.secs)} of the wall time`, part.words] })));
    x += wide;
  }
  return bar;
}

const known = (part) => (part.kind in PARTS ? part.kind : "other");
const partName = (part) => PARTS[part.kind]?.[0] ?? part.kind;

export function wallTime(doc) {
  const wall = doc.wall_time;
  const parts = wall.parts.filter((part) => part.secs > 0);
  if (!(wall.secs > 0) || parts.length === 0) {
    return section("wall-time", "Where the wall time went", el("p", { class: "quiet" }, "No time has passed yet."));
  }
  const bar = onWidth(el("div", { class: "wall" }), (width) => wallBar(wall, parts, width));
  const legend = el("ul", { class: "legend parts" }, parts.map((part) => {
    return el("li", null, swatch("wall", known(part)),
      el("span", { class: "name" }, partName(part), el("small", null, part.words)),
      el("span", { class: "number" }, duration(part.secs)), el("span", { class: "number quiet" }, percent(part.secs / wall.secs)));
  }));
  return section("wall-time", "Where the wall time went", bar, legend);
}

export function marksLegend(doc) {
  const kinds = new Map();
  for (const mark of [...doc.attempts.flatMap((attempt) => attempt.marks), ...doc.interventions]) kinds.set(mark.kind, (kinds.get(mark.kind) ?? 0) + mark.count);
  for (const silent of UNMARKED) kinds.delete(silent);
  const order = Object.keys(MARKS);
  const entries = [...kinds].sort(([a], [b]) => order.indexOf(a) - order.indexOf(b)).map(([kind, number]) => {
    const [one, many, form, tone] = markOf(kind);
    return [icon(form, tone), count(number, one, many)];
  });
  if (doc.links.length > 0) {
    entries.push([icon("target", "resumed"), "an attempt resumed from this checkpoint"], [icon("arrow", "resumed"), "to the attempt that resumed"]);
  }
  return el("ul", { class: "legend marks", "aria-label": "Marks" }, entries.map((entry) => el("li", null, entry)));
}
