// The kinds of everything that is drawn: name, shape and colour. A colour alone never distinguishes
// two kinds. Words of a journal are looked up in these tables, so they have no prototype: otherwise
// a word such as `constructor` would be found.

export const PARTS = {
  __proto__: null,
  productive: ["Steps that count", "plain"],
  wasted_progress: ["Repeated steps", "slant"],
  checkpoint_save: ["Saving", "dots"],
  checkpoint_restore: ["Restoring", "rows"],
  initialisation: ["Start of the program", "columns"],
  training_preparation: ["Before the first step", "grid"],
  program_startup: ["Tracing and compiling", "waves"],
  data_loading: ["Waiting for data", "rings"],
  infrastructure_recovery: ["Away, interrupted", "back"],
  idle: ["Away, on purpose", "empty"],
  other: ["Everything else", "sparse"],
};

export const PHASES = {
  __proto__: null,
  start_up: ["starting up", "training_preparation"],
  restore: ["restoring", "checkpoint_restore"],
  training: ["training", "productive"],
  lost: ["training that was lost", "wasted_progress"],
  ending: ["ending", "other"],
};

// Kind: [name, plural, shape, tone, weight]. A group of marks has the shape of the heaviest one.
export const MARKS = {
  __proto__: null,
  saved: ["save", "saves", "dot", "save", 1],
  save_dropped: ["skipped save", "skipped saves", "ring", "quiet", 3],
  save_failed: ["failed save", "failed saves", "struck", "bad", 8],
  notice: ["notice", "notices", "bell", "warn", 6],
  signal: ["signal", "signals", "bolt", "warn", 7],
  dead: ["killed", "killed", "cross", "bad", 12],
  failed: ["exception", "exceptions", "octagon", "bad", 11],
  passed_over: ["fall-back", "fall-backs", "back", "bad", 9],
  request: ["request", "requests", "speech", "note", 4],
  stalled: ["stall", "stalls", "pause", "warn", 7],
  exported: ["export", "exports", "box", "good", 5],
  export_failed: ["failed export", "failed exports", "boxstruck", "bad", 8],
  finished: ["finish", "finishes", "flag", "good", 10],
  preempted: ["preempted", "preempted", "square", "warn", 10],
  stopped: ["stopped", "stopped", "square", "note", 10],
  unknown: ["no record of an end", "no record of an end", "question", "warn", 10],
  rolled_back: ["rollback", "rollbacks", "back", "note", 9],
  set_aside: ["fresh start", "fresh starts", "star", "note", 9],
  warm_started: ["warm start", "warm starts", "star", "note", 6],
  adopted: ["adoption", "adoptions", "star", "note", 6],
  taken_over: ["take-over", "take-overs", "question", "warn", 6],
  other: ["event", "events", "diamond", "note", 2],
};

// The phases of an attempt show these, so they need no mark.
export const UNMARKED = new Set(["training", "restored"]);

export function markOf(kind) {
  return MARKS[kind] ?? MARKS.other;
}

export const STATUS = {
  __proto__: null,
  good: ["good", "check", "good"],
  damaged: ["damaged", "cross", "bad"],
  quarantined: ["quarantined", "struck", "bad"],
  set_aside: ["set aside", "square", "note"],
  taken_away: ["deleted", "ring", "quiet"],
  gone: ["gone", "question", "quiet"],
};

export const STATES = {
  __proto__: null,
  finished: ["flag", "good"],
  training: ["play", "good"],
  preempted: ["square", "warn"],
  stopped: ["square", "note"],
  failed: ["octagon", "bad"],
  dead: ["cross", "bad"],
  unknown: ["question", "warn"],
  new: ["ring", "quiet"],
};
