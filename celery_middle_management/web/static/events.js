// The entries of the history in words, as a list, and as marks on the plots.

import { $, fill, make, say, show } from "./dom.js";
import { plural, short, span, when } from "./words.js";

/** What each kind of entry looks like; a shape of its own, so that no colour is needed. */
export const KINDS = {
  hire: { sign: "▲", word: "hire", marker: "triangle", colour: "--hire" },
  fire: { sign: "▼", word: "fire", marker: "inverted_triangle", colour: "--fire" },
  person: { sign: "◆", word: "by a person", marker: "diamond", colour: "--person" },
  pause: { sign: "■", word: "pause, resume", marker: "square", colour: "--person" },
  stuck: { sign: "●", word: "stuck at max", marker: "circle", colour: "--person" },
  trouble: { sign: "✕", word: "trouble", marker: "x", colour: "--wrong" },
};
const KIND_OF = {
  hire: "hire", fire: "fire", pause: "pause", resume: "pause",
  trouble: "trouble", "trouble over": "trouble",
  "stuck at max": "stuck", "stuck at max over": "stuck",
};
const STEP = 30;
let most = STEP;

export function kindOf(entry) {
  return KIND_OF[entry.action] ?? "person";
}

/** What was done, without the reason. */
export function done(entry, now) {
  const parts = [entry.dry_run ? `would ${entry.action}` : entry.action];
  if (entry.action === "pause") {
    parts.push(["hires", "fires"].filter((what) => entry[what]).join(" and "));
  }
  if (entry.to !== undefined) parts.push(`${entry.from} → ${entry.to}`);
  if (entry.until) parts.push(`until ${when(entry.until, now)}`);
  if (entry.lasted !== undefined) parts.push(`after ${span(entry.lasted)}`);
  if (entry.by) parts.push(`by ${short(entry.by, 80)}`);
  return parts.join(" ");
}

/** The entries of a pool, and of all pools, since a time (ms). */
export function chosen(events, pool, since) {
  return events.filter(
    (entry) => Date.parse(entry.at) >= since && (!pool || !entry.pool || entry.pool === pool),
  );
}

/** Lists the entries, the latest first. */
export function list(entries, now, what, oldest) {
  const shown = entries.slice(0, most);
  say($("decisions-note"), `${plural(entries.length, "entry", "entries")} in the last ${what}.`
    + (oldest ? ` Those before ${when(oldest, now)} are no longer kept.` : ""));
  fill($("decisions"), [shown, new Date(now).toDateString()], () =>
    shown.map((entry) => item(entry, now)));
  show($("more"), entries.length > most);
}

function item(entry, now) {
  const kind = kindOf(entry);
  const sign = make("span", `sign ${kind}`, KINDS[kind].sign);
  sign.setAttribute("aria-hidden", "true");
  const time = make("time", "", when(entry.at, now));
  time.dateTime = entry.at;
  time.title = entry.at;
  const line = make("li", "", sign, time, make("span", "pool", short(entry.pool ?? "all pools", 60)),
    make("strong", "", done(entry, now)),
    entry.reason ? make("span", "why", short(entry.reason, 600)) : null);
  line.dataset.key = keyOf(entry);
  return line;
}

export function keyOf(entry) {
  return `${entry.at} ${entry.action} ${entry.pool}`;
}

/** Points out an entry in the list, after a tap on its mark. */
export function pointOut(key, entries, redraw) {
  const place = entries.findIndex((entry) => keyOf(entry) === key);
  if (place >= most) {
    most = place + STEP;
    redraw();
  }
  const line = [...$("decisions").children].find((each) => each.dataset.key === key);
  for (const each of $("decisions").children) each.classList.toggle("pointed", each === line);
  line?.scrollIntoView({ block: "nearest" });
}

export function onMore(redraw) {
  $("more").addEventListener("click", () => {
    const next = most;
    most += 5 * STEP;
    redraw();
    const first = $("decisions").children[next];
    if (first) {
      first.tabIndex = -1;
      first.focus();
    }
  });
}

export function forgetMore() {
  most = STEP;
}
