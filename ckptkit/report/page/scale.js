// The scale of the time axis. Long gaps in which nothing ran are shortened, and drawn as shortened.

const BREAK_WIDTH = 30;
const STEPS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800,
  21600, 43200, 86400, 172800, 345600, 604800, 1209600, 2592000, 7776000, 31536000, 315360000, 3153600000];

// Returns the spans in which anything ran, without overlaps.
export function busy(spans) {
  const merged = [];
  for (const [began, ended] of [...spans].sort((a, b) => a[0] - b[0])) {
    const last = merged.at(-1);
    if (last && began <= last[1]) last[1] = Math.max(last[1], ended);
    else merged.push([began, ended]);
  }
  return merged;
}

// Returns a scale from the time between `from` and `to` to `width` pixels. Its pieces are
// {from, to, x0, x1, broken}; a broken piece is a shortened gap.
export function makeScale(active, from, to, width, shorten) {
  const until = to > from ? to : from + 1;
  const pieces = [];
  const add = (a, b, idle) => { if (b > a) pieces.push({ from: a, to: b, idle, broken: false }); };
  let at = from;
  for (const [began, ended] of active) {
    if (ended <= from || began >= until) continue;
    add(at, Math.max(began, from), true);
    add(Math.max(began, at), Math.min(ended, until), false);
    at = Math.max(at, Math.min(ended, until));
  }
  add(at, until, true);
  if (shorten) breakLongest(pieces, width);
  return place(pieces, width);
}

// Shortens the longest gaps, as long as that makes room for what ran. At most 40 % of the width goes to
// shortened gaps.
function breakLongest(pieces, width) {
  const idle = pieces.filter((piece) => piece.idle).sort((a, b) => (b.to - b.from) - (a.to - a.from));
  let secs = pieces.reduce((sum, piece) => sum + piece.to - piece.from, 0);
  let room = width;
  let broken = 0;
  const most = Math.floor((width * 0.4) / BREAK_WIDTH);
  for (const piece of idle) {
    const length = piece.to - piece.from;
    if (broken >= most || pieces.length === broken + 1 || length * (room / secs) < BREAK_WIDTH * 1.5) break;
    piece.broken = true;
    secs -= length;
    room -= BREAK_WIDTH;
    broken += 1;
  }
}

function place(pieces, width) {
  const broken = pieces.filter((piece) => piece.broken).length;
  const secs = pieces.reduce((sum, piece) => sum + (piece.broken ? 0 : piece.to - piece.from), 0);
  const perSec = secs > 0 ? (width - broken * BREAK_WIDTH) / secs : 0;
  let x = 0;
  for (const piece of pieces) {
    piece.x0 = x;
    x += piece.broken ? BREAK_WIDTH : (piece.to - piece.from) * perSec;
    piece.x1 = x;
  }
  const find = (moment) => {
    let low = 0;
    let high = pieces.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (pieces[middle].to < moment) low = middle + 1;
      else high = middle;
    }
    return pieces[low];
  };
  return {
    pieces,
    perSec,
    x(moment) {
      const piece = find(moment);
      const part = (moment - piece.from) / (piece.to - piece.from);
      return piece.x0 + Math.max(0, Math.min(1, part)) * (piece.x1 - piece.x0);
    },
    moment(x) {
      const piece = pieces.find((each) => x <= each.x1) ?? pieces.at(-1);
      const part = piece.x1 > piece.x0 ? (x - piece.x0) / (piece.x1 - piece.x0) : 0;
      return piece.from + Math.max(0, Math.min(1, part)) * (piece.to - piece.from);
    },
  };
}

const DAY = 86400;
const ROOM_OF_TIME = 66;
const ROOM_OF_MORE = 100; // a date, or a time with milliseconds

// Returns moments at round times of the reader's clock, with room for their labels. Shortened gaps
// have none.
export function ticks(scale) {
  const stepFor = (wanted) => STEPS.find((each) => each >= wanted / scale.perSec) ?? STEPS.at(-1);
  const closest = stepFor(ROOM_OF_TIME);
  const room = closest >= 1 && closest < DAY ? ROOM_OF_TIME : ROOM_OF_MORE;
  const step = stepFor(room);
  const found = [];
  let last = -room;
  for (const piece of scale.pieces) {
    if (piece.broken) continue;
    const offset = new Date(piece.from * 1000).getTimezoneOffset() * 60 || 0;
    for (let n = Math.ceil((piece.from - offset) / step); found.length < 400; n += 1) {
      const at = n * step + offset;
      if (!(at <= piece.to)) break;
      const x = scale.x(at);
      if (x - last >= room * 0.8) {
        found.push({ at, x });
        last = x;
      }
    }
  }
  return { ticks: found, step };
}
