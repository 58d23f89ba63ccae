// The visible part of the time: the whole run, or a window that can be moved and zoomed.

const MANY = 40;
const SHOWN_OF_MANY = 25;

export function makeView(doc) {
  const { attempts } = doc;
  // A rollback, or an event of a launcher, may be later than the last event of an attempt.
  const marks = [...doc.interventions, ...attempts.flatMap((attempt) => attempt.marks.slice(-1))].map((mark) => mark.until ?? mark.at);
  const began = attempts.reduce((first, attempt) => Math.min(first, attempt.began), Math.min(attempts[0].began, ...marks));
  const ended = attempts.reduce((last, attempt) => Math.max(last, attempt.ended), Math.max(began + 0.001, ...marks));
  const listeners = new Map();
  const least = Math.max((ended - began) / 1e6, 0.001);
  const view = { began, ended, from: began, to: ended, shorten: true, many: attempts.length > MANY };

  view.change = (changes) => {
    Object.assign(view, changes);
    let length = Math.min(Math.max(view.to - view.from, least), ended - began);
    view.from = Math.max(began, Math.min(view.from, ended - length));
    view.to = Math.min(ended, view.from + length);
    for (const listener of listeners.values()) listener();
  };
  // By name, so that a redrawn part replaces its earlier listener instead of adding one.
  view.onChange = (name, listener) => listeners.set(name, listener);
  view.isWhole = () => view.from <= began && view.to >= ended;
  view.whole = () => view.change({ from: began, to: ended });
  view.zoom = (factor, around) => {
    const middle = around ?? (view.from + view.to) / 2;
    view.change({ from: middle - (middle - view.from) * factor, to: middle + (view.to - middle) * factor });
  };
  view.move = (part) => {
    const by = (view.to - view.from) * part;
    view.change({ from: view.from + by, to: view.to + by });
  };
  view.show = (rows) => {
    const from = Math.min(...rows.map((attempt) => attempt.began));
    const to = Math.max(...rows.map((attempt) => attempt.ended));
    const edge = Math.max((to - from) * 0.02, least);
    view.change({ from: from - edge, to: to + edge });
  };
  view.newest = () => view.show(attempts.slice(-SHOWN_OF_MANY));
  view.rows = () => attempts.filter((attempt) => attempt.ended >= view.from && attempt.began <= view.to);
  if (view.many) view.newest();
  return view;
}
