// Rows of numbers for the plots, of one pool or of all. Pure.

/** Adds the rows of all pools up; of the mean waits, the longest. */
export function rowsOf(span, pool) {
  if (pool) return span.pools[pool];
  const all = Object.values(span.pools);
  const rows = {};
  for (const name of Object.keys(all[0] ?? {})) {
    const join = name === "mean_wait" ? (a, b) => Math.max(a, b) : (a, b) => a + b;
    rows[name] = all[0][name].map((_, i) =>
      all.map((its) => its[name][i]).filter((n) => n !== null).reduce(joinOrFirst(join), null));
  }
  return rows;
}

function joinOrFirst(join) {
  return (sum, number) => (sum === null ? number : join(sum, number));
}

/** The middle of each interval, as plots show it: local time, in ms. */
export function timesOf(span) {
  const start = Date.parse(span.start), step = span.step * 1000;
  const rows = Object.values(span.pools)[0];
  return (rows ? rows.workers : []).map((_, i) => local(start + (i + 0.5) * step));
}

/** A time as a plot shows it, which knows no time zones. */
export function local(ms) {
  return ms - new Date(ms).getTimezoneOffset() * 60000;
}

/** The periods of a pause or a trouble, and what it was: from the entries, the latest first. */
export function periods(entries, status) {
  const found = [], open = new Map();
  let pause = null;
  for (const entry of [...entries].reverse()) {
    const at = Date.parse(entry.at), key = `${entry.kind} ${entry.pool}`;
    if (entry.action === "trouble") open.set(key, Date.parse(entry.since ?? entry.at));
    if (entry.action === "trouble over") {
      const since = open.get(key) ?? Date.parse(entry.since ?? entry.at);
      found.push({ what: "trouble", from: since, to: at });
      open.delete(key);
    }
    // An earlier pause goes on until its own end.
    if (pause && (entry.action === "resume" || pause.until <= at)) {
      found.push({ what: "pause", from: pause.from, to: Math.min(at, pause.until) });
      pause = null;
    }
    if (entry.action === "pause") {
      const until = Date.parse(entry.until ?? "") || Infinity;
      pause = { from: pause?.from ?? at, until: Math.max(until, pause?.until ?? 0) };
    }
  }
  const now = Date.parse(status.at);
  if (status.trouble.length) for (const from of open.values()) found.push({ what: "trouble", from, to: now });
  if (pause) found.push({ what: "pause", from: pause.from, to: Math.min(now, pause.until) });
  return found.filter(({ from, to }) => to > from);
}

/** The row's value at a time (ms), for a mark to stand on its line. */
export function valueAt(row, span, ms) {
  const i = Math.floor((ms - Date.parse(span.start)) / (span.step * 1000));
  return row[Math.min(Math.max(i, 0), row.length - 1)] ?? 0;
}

/** The highest number of some rows. */
export function highest(...rows) {
  return rows.flat().reduce((most, n) => (n !== null && n > most ? n : most), 0);
}

/** What there is now, of one pool or of all, under the names of the rows. */
export function nowOf(status, pool) {
  const sum = (of) => status.pools
    .filter(({ name }) => !pool || name === pool)
    .reduce((total, its) => total + (of(its) ?? 0), 0);
  return {
    waiting: sum(({ tasks }) => tasks.waiting), running: sum(({ tasks }) => tasks.running),
    scheduled: sum(({ tasks }) => tasks.scheduled), workers: sum(({ workers }) => workers.current),
  };
}
