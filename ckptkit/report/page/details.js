// The sections about environment, configuration, verification and disk usage.

import { el, section } from "./dom.js";
import { icon } from "./icons.js";
import { count, figure, group, inAttempts, moment, size } from "./format.js";

export function environment(doc) {
  if (doc.environment.length === 0) return null;
  const single = doc.attempts.length === 1;
  return section("environment", "Environment", el("div", { class: "wide" }, el("table", { class: "pairs" }, el("tbody", null, doc.environment.map((each) =>
    el("tr", { class: each.spells.length > 1 ? "changed" : null }, el("th", { scope: "row" }, each.name),
      el("td", null, each.spells.length === 1 && each.spells[0].attempts.length === doc.attempts.length ? el("span", null, each.spells[0].value) : spells(each, single))))))));
}

const MOST_SPELLS = 4;

function spells(each, single) {
  const shown = each.spells.length > MOST_SPELLS ? each.spells.slice(-MOST_SPELLS) : each.spells;
  return el("ul", { class: "spells" }, shown.length < each.spells.length && el("li", { class: "quiet" }, `${count(each.spells.length - shown.length, "earlier value")}, then`),
    shown.map((spell, number) => el("li", null, el("span", null, spell.value), !single && el("small", null, inAttempts(spell.attempts)),
      each.name !== "host" && (number > 0 || shown.length < each.spells.length) && el("span", { class: "badge tone-note" }, icon("diamond", "note"), "changed"))));
}

// {"a": {"b": 1}} -> [["a.b", "1"]]
function flat(value, name) {
  if (value === null || typeof value !== "object") return [[name, value === null ? "none" : figure(value)]];
  if (Array.isArray(value) && value.every((each) => each === null || typeof each !== "object")) return [[name, `[${value.map((each) => figure(each ?? "none")).join(", ")}]`]];
  const inside = Object.entries(value).flatMap(([key, each]) => flat(each, name ? `${name}.${key}` : key));
  return inside.length > 0 ? inside : [[name, "empty"]];
}

export function configuration(doc) {
  const { configuration: own } = doc;
  const pairs = flat(own.hyperparameters, "").filter(([name]) => name !== "");
  if (pairs.length === 0 && own.changes.length === 0) return section("configuration", "Configuration", el("p", { class: "quiet" }, "Nothing was recorded."));
  return section("configuration", "Configuration",
    own.checkpoint && el("p", { class: "quiet" }, "as recorded with ", el("code", null, own.checkpoint)),
    el("div", { class: "wide" }, el("table", { class: "pairs" }, el("tbody", null, pairs.map(([name, value]) => el("tr", null, el("th", { scope: "row" }, el("code", null, name)), el("td", null, value)))))),
    own.changes.length > 0 && el("h3", null, "Changed between attempts"),
    own.changes.length > 0 && el("ul", { class: "list" }, own.changes.map((change) => el("li", null, el("code", null, change.name),
      `: ${change.then} → ${change.now}; the ${change.settled}’s value counts, since attempt ${change.attempt}`, el("small", null, moment(change.at))))));
}

export function verification(doc) {
  const { verification: own } = doc;
  const all = own.good + own.damaged;
  const how = own.depth === "full" ? "Every byte was read and compared with what was written."
    : "Sizes of all files were compared with what was written, and small files were read. Make the report with --verify to read every byte.";
  const bad = doc.checkpoints.filter((row) => row.status === "damaged");
  const verdict = all === 0 ? el("p", { class: "quiet" }, "There is no checkpoint to verify.")
    : el("p", { class: "verdict" }, el("span", { class: `badge tone-${own.damaged ? "bad" : "good"}` }, icon(own.damaged ? "cross" : "check", own.damaged ? "bad" : "good"), own.damaged ? "damage" : "good"),
      `${group(own.good)} of ${count(all, "checkpoint")} good`, own.damaged > 0 && `, ${group(own.damaged)} damaged`, ` · ${size(own.read_bytes)} of ${size(own.size_bytes)} read`);
  return section("verification", "Verification", verdict, all > 0 && el("p", { class: "quiet" }, how),
    bad.length > 0 && el("ul", { class: "list" }, bad.map((row) => el("li", null, el("code", null, row.name), ": ", row.words))));
}

export function disk(doc) {
  const total = doc.disk.reduce((sum, each) => sum + each.size_bytes, 0);
  const most = Math.max(1, ...doc.disk.map((each) => each.size_bytes));
  return section("disk", "On disk",
    el("table", { class: "pairs sizes" }, el("tbody", null, doc.disk.map((each) => el("tr", null, el("th", { scope: "row" }, el("code", null, each.name)),
      el("td", { class: "number" }, size(each.size_bytes)),
      el("td", { class: "share", "aria-hidden": "true" }, el("span", { style: { width: `${(each.size_bytes / most) * 100}%` } })), el("td", { class: "quiet number" }, count(each.files, "file")))),
    el("tr", { class: "total" }, el("th", { scope: "row" }, "all"), el("td", { class: "number" }, size(total)), el("td"), el("td")))),
    doc.moved.length > 0 && el("h3", null, "Moved away, not deleted"),
    doc.moved.length > 0 && el("ul", { class: "list" }, doc.moved.map((each) => el("li", { "data-moved": each.kind }, el("code", null, each.path), `: ${each.words}`, el("small", null, size(each.size_bytes))))));
}
