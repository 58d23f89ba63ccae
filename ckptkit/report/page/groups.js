// Marks that would overlap become one group, which shows how many marks it stands for.

import { UNMARKED, markOf } from "./kinds.js";
import { clock, count, day, duration, moment } from "./format.js";

export const APART = 13;

// Places marks on a line. Returns groups {x0, x1, marks, count, kind} that are at least `apart` away
// from each other.
export function grouped(marks, place, apart) {
  const groups = [];
  for (const mark of marks) {
    const x0 = place(mark.at);
    const x1 = mark.until ? place(mark.until) : x0;
    const last = groups.at(-1);
    if (last && x0 - last.x1 < apart) {
      last.x1 = Math.max(last.x1, x1);
      last.marks.push(mark);
      last.count += mark.count;
      if (markOf(mark.kind)[4] > markOf(last.kind)[4]) last.kind = mark.kind;
    } else {
      groups.push({ x0, x1, marks: [mark], count: mark.count, kind: mark.kind });
    }
  }
  return groups;
}

export function marksIn(attempt, lane) {
  return attempt.marks.filter((mark) => !UNMARKED.has(mark.kind) && (lane === "saves") === (mark.kind === "saved"));
}

// Returns the text that a screen reader speaks; it is the first line of the details as well.
export function title(group) {
  const [first] = group.marks;
  if (group.count === 1) return `${capitalise(markOf(first.kind)[0])}${first.step === null ? "" : `, step ${first.step.toLocaleString("en-US")}`}`;
  const kinds = new Map();
  for (const mark of group.marks) kinds.set(mark.kind, (kinds.get(mark.kind) ?? 0) + mark.count);
  return capitalise([...kinds].map(([kind, number]) => count(number, markOf(kind)[0], markOf(kind)[1])).join(", "));
}

export function lines(group, attempt) {
  if (group.count === 1) {
    const [mark] = group.marks;
    return [mark.words, `${moment(mark.at)}, ${duration(mark.at - attempt.began)} into attempt ${attempt.number}`];
  }
  const several = day(group.marks[0].at) !== day(group.marks.at(-1).at);
  return group.marks.map((mark) => `${several ? `${day(mark.at)} ` : ""}${clock(mark.at, true)}  ${mark.words}`);
}

export function capitalise(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
