// The table of all checkpoints that exist or existed. It can be sorted by any column and filtered, and
// shows its rows in portions, because a browser is slow with thousands of rows.

import { button, el, section, short } from "./dom.js";
import { icon } from "./icons.js";
import { STATUS } from "./kinds.js";
import { count, figure, group, inAttempts, moment, size } from "./format.js";

const PORTION = 25;
const MORE = 500;
const PREFERRED = ["val_loss", "loss", "val_accuracy", "accuracy"];
const MOST_METRICS = 2;

export function checkpoints(doc) {
  const rows = doc.checkpoints;
  if (rows.length === 0) return section("checkpoints", "Checkpoints", el("p", { class: "quiet" }, "No checkpoint was ever saved, or none was recorded."));
  const metrics = metricNames(rows);
  const columns = makeColumns(metrics);
  const there = rows.some((row) => row.is_there);
  const state = { sort: columns[0], down: true, filter: there ? "there" : "all", most: PORTION };
  const holder = el("div");
  const draw = () => holder.replaceChildren(table(rows, columns, state, draw));
  draw();
  return section("checkpoints", "Checkpoints", holder);
}

function metricNames(rows) {
  const names = new Set(rows.flatMap((row) => Object.keys(row.metrics)));
  const weight = (name) => (PREFERRED.includes(name) ? PREFERRED.indexOf(name) : PREFERRED.length);
  return [...names].sort((a, b) => weight(a) - weight(b) || a.localeCompare(b)).slice(0, MOST_METRICS);
}

function makeColumns(metrics) {
  return [
    { name: "Step", number: true, key: (row) => row.step, cell: (row) => el("b", { title: row.name }, group(row.step)), tie: (row) => row.attempt },
    { name: "Epoch", number: true, key: (row) => row.epoch ?? -1, cell: (row) => (row.epoch === null ? "–" : row.batch ? `${group(row.epoch)} + ${group(row.batch)}` : group(row.epoch)) },
    { name: "Attempt", number: true, key: (row) => row.attempt, cell: (row) => group(row.attempt) },
    { name: "Saved", key: (row) => row.saved_at ?? -1, cell: (row) => el("span", { class: "figures" }, moment(row.saved_at)) },
    { name: "Size", number: true, key: (row) => row.size_bytes ?? -1, cell: (row) => (row.size_bytes === null ? "–" : size(row.size_bytes)) },
    ...metrics.map((name) => ({ name, number: true, metric: true, key: (row) => Number(Object.hasOwn(row.metrics, name) ? row.metrics[name] : Number.NaN), cell: (row) => (Object.hasOwn(row.metrics, name) ? figure(row.metrics[name]) : "–") })),
    { name: "Because", key: (row) => row.trigger, cell: (row) => row.trigger || "–" },
    { name: "Status", key: (row) => row.status, cell: status },
  ];
}

function status(row) {
  const [name, shape, tone] = STATUS[row.status] ?? [row.status, "question", "quiet"];
  return el("div", { class: "status" },
    el("span", { class: `badge tone-${tone}`, "data-status": row.status }, icon(shape, tone), name),
    row.final && el("span", { class: "badge tone-good" }, icon("flag", "good"), "final"),
    row.pinned && el("span", { class: "badge tone-note" }, icon("pin", "note"), row.pinned.note ? `pinned: ${row.pinned.note}` : "pinned"),
    row.resumed_by.length > 0 && el("small", null, `resumed in ${inAttempts(row.resumed_by)}`),
    row.words && el("small", null, short(row.words)));
}

function compare(a, b) {
  if (typeof a === "string") return a.localeCompare(b);
  if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
  return a - b;
}

function table(rows, columns, state, draw) {
  const kept = rows.filter((row) => state.filter === "all" || (state.filter === "there") === row.is_there);
  const { key, tie } = state.sort;
  const sorted = [...kept].sort((a, b) => (state.down ? -1 : 1) * (compare(key(a), key(b)) || (tie ? tie(a) - tie(b) : 0)));
  const set = (changes) => () => {
    Object.assign(state, changes);
    // Drawing replaces the button that was pressed, so the focus has to move to its successor.
    const focused = document.activeElement?.dataset.control;
    draw();
    if (focused) document.querySelector(`#checkpoints [data-control="${CSS.escape(focused)}"]`)?.focus();
  };
  const there = rows.filter((row) => row.is_there).length;
  const filters = [["there", `Existing (${group(there)})`], ["gone", `No longer existing (${group(rows.length - there)})`], ["all", `All (${group(rows.length)})`]];
  return el("div", null,
    el("div", { class: "tools", role: "toolbar", "aria-label": "Which checkpoints are listed" },
      filters.map(([name, text]) => button(text, state.filter === name, set({ filter: name, most: PORTION }), { "data-control": name }))),
    el("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Table of checkpoints" },
      el("table", { role: "table" },
        el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, columns.map((column) => heading(column, state, set)))),
        el("tbody", { role: "rowgroup" }, sorted.slice(0, state.most).map((row) => el("tr", { role: "row", "data-checkpoint": row.name, class: row.is_there ? null : "gone" },
          columns.map((column) => el("td", { role: "cell", class: column.number ? "number" : null, "data-column": column.name }, column.cell(row)))))))),
    sorted.length === 0 && el("p", { class: "quiet" }, "None."),
    sorted.length > state.most && el("p", { class: "more" },
      button(`Show ${group(Math.min(sorted.length - state.most, MORE))} more of ${count(sorted.length, "checkpoint")}`, null, set({ most: state.most + MORE }), { "data-control": "more" })));
}

function heading(column, state, set) {
  const sorted = state.sort === column;
  return el("th", { role: "columnheader", scope: "col", class: column.number ? "number" : null, "aria-sort": sorted ? (state.down ? "descending" : "ascending") : null },
    button([column.metric ? el("code", null, column.name) : column.name, sorted && el("span", { class: "arrow-sort", "aria-hidden": "true" }, state.down ? "▾" : "▴")], null,
      set({ sort: column, down: sorted ? !state.down : true }), { class: "plain", "data-control": `sort ${column.name}` }));
}
