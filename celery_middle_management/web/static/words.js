// Numbers and times in words, as `mm status` says them.

const UNITS = [["days", 86400], ["h", 3600], ["min", 60]];
const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const exact = new Intl.DateTimeFormat([], {
  hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
});
const day = new Intl.DateTimeFormat([], { weekday: "short", day: "numeric", month: "short" });

export const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

/** A duration: 12 s, 3 min, 2 h, 5 days. */
export function span(seconds) {
  for (const [unit, length] of UNITS) {
    if (seconds >= 2 * length) return `${Math.floor(seconds / length)} ${unit}`;
  }
  return `${Math.max(Math.round(seconds), 0)} s`;
}

/** Seconds from one ISO time to another. */
export function between(from, to) {
  return (Date.parse(to) - Date.parse(from)) / 1000;
}

/** How long before or after `now` a time is. */
export function ago(at, now) {
  const seconds = between(at, now);
  return seconds >= 0 ? `${span(seconds)} ago` : `in ${span(-seconds)}`;
}

/** A time of day, with the date unless it is today. */
export function when(at, now) {
  const date = new Date(at), today = new Date(now);
  const time = clock.format(date);
  return date.toDateString() === today.toDateString() ? time : `${day.format(date)}, ${time}`;
}

/** A time of day with its seconds. */
export function second(ms) {
  return exact.format(new Date(ms));
}

export function plural(number, one, more) {
  return `${count(number)} ${number === 1 ? one : more}`;
}

/** A whole number with separators; ? if it is not known. */
export function count(number) {
  return number === null || number === undefined ? "?" : number.toLocaleString("en");
}

/** Seconds a task waited. */
export function wait(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  return seconds < 10 ? `${seconds.toFixed(1)} s` : span(seconds);
}

/** A text that may be of any length, shortened. */
export function short(text, most = 300) {
  const said = String(text);
  return said.length > most ? `${said.slice(0, most)}…` : said;
}
