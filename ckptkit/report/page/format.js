// Numbers, durations, sizes and times as text for people.

const UNITS = [["d", 86400], ["h", 3600], ["min", 60]];

export function duration(secs) {
  if (!Number.isFinite(secs)) return "–";
  if (secs < 0) return `−${duration(-secs)}`;
  if (secs < 0.9995) return secs === 0 ? "0 s" : secs < 0.0005 ? "< 1 ms" : `${Math.round(secs * 1000)} ms`;
  if (secs < 59.95) return `${secs < 9.95 ? secs.toFixed(1) : Math.round(secs)} s`;
  for (const [number, [unit, width]] of UNITS.entries()) {
    if (Math.round(secs) >= width || unit === "min") {
      const [smaller, step] = UNITS[number + 1] ?? ["s", 1];
      const rounded = Math.round(secs / step) * step;
      const rest = Math.round((rounded % width) / step);
      const whole = Math.floor(rounded / width);
      return rest && whole < 100 ? `${group(whole)} ${unit} ${rest} ${smaller}` : `${group(whole)} ${unit}`;
    }
  }
  return `${Math.round(secs)} s`;
}

export function size(bytes) {
  if (!Number.isFinite(bytes)) return "–";
  let value = bytes;
  for (const unit of ["B", "kB", "MB", "GB", "TB"]) {
    if (value < 999.5 || unit === "TB") return `${value < 99.95 ? Number(value.toPrecision(3)) : Math.round(value)} ${unit}`;
    value /= 1000;
  }
  return `${bytes} B`;
}

export function group(number) {
  return Number.isFinite(number) ? number.toLocaleString("en-US", { maximumFractionDigits: 0 }) : "–";
}

export function count(number, one, many) {
  return `${group(number)} ${number === 1 ? one : many ?? `${one}s`}`;
}

export function percent(ratio) {
  if (ratio === null || !Number.isFinite(ratio)) return "–";
  const value = ratio * 100;
  if (value > 0 && value < 0.05) return "< 0.1 %";
  return `${value >= 99.95 && value < 100 ? "> 99.9" : value.toFixed(1)} %`;
}

const two = (number) => String(number).padStart(2, "0");

export function day(secs) {
  const at = new Date(secs * 1000);
  if (Number.isNaN(at.getTime())) return "at no known time";
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

export function clock(secs, withSeconds) {
  const at = new Date(secs * 1000);
  if (Number.isNaN(at.getTime())) return "";
  return `${two(at.getHours())}:${two(at.getMinutes())}${withSeconds ? `:${two(at.getSeconds())}` : ""}`;
}

export function moment(secs) {
  return secs === null || secs === undefined ? "–" : `${day(secs)} ${clock(secs, true)}`.trim();
}

export function zone() {
  const minutes = -new Date().getTimezoneOffset();
  const offset = `UTC${minutes < 0 ? "−" : "+"}${two(Math.floor(Math.abs(minutes) / 60))}:${two(Math.abs(minutes) % 60)}`;
  return minutes === 0 ? "UTC" : offset;
}

// 1, 2, 3, 7 -> "1–3, 7"
export function ranges(numbers) {
  const found = [];
  for (const number of numbers) {
    const last = found.at(-1);
    if (last && number === last[1] + 1) last[1] = number;
    else found.push([number, number]);
  }
  return found.map(([a, b]) => (a === b ? `${a}` : `${a}–${b}`)).join(", ");
}

export function figure(value) {
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return String(value);
  return String(Number(value.toPrecision(4)));
}

// Commands such as `prune` use up numbers of attempts as well, so ranges may have gaps.
export function inAttempts(numbers) {
  return `attempt${numbers.length === 1 ? "" : "s"} ${ranges(numbers)}`;
}
