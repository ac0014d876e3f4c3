// Each pool now: its workers, its tasks, what drains, and what was and will be decided.

import { $, fill, make, say, show } from "./dom.js";
import { costOf } from "./money.js";
import { ago, between, count, plural, short, span } from "./words.js";

const cards = new Map();

/** Draws all pools; those with something wrong come first when the page is opened. */
export function draw(doc, onAsk) {
  const { status } = doc;
  const wrong = new Set(status.trouble.map((trouble) => trouble.pool));
  const names = status.pools.map((pool) => pool.name);
  if (names.join("\n") !== [...cards.keys()].join("\n")) build(status.pools, wrong, onAsk);
  for (const pool of status.pools) update(cards.get(pool.name), pool, status, wrong.has(pool.name), doc);
}

function build(pools, wrong, onAsk) {
  cards.clear();
  for (const pool of pools) cards.set(pool.name, card(pool, pools.length <= 3 || wrong.has(pool.name), onAsk));
  const first = pools.filter((pool) => wrong.has(pool.name));
  const rest = pools.filter((pool) => !wrong.has(pool.name));
  $("pools").replaceChildren(...[...first, ...rest].map((pool) => cards.get(pool.name).root));
}

function card(pool, open, onAsk) {
  const parts = {
    root: make("details", "card"), badge: make("span", "badge"),
    workers: make("span", "number"), waiting: make("span", "number"),
    facts: make("dl", "facts"), buttons: make("div", "buttons"),
  };
  parts.root.open = open;
  const name = short(pool.name, 60);
  parts.root.append(
    make("summary", "", make("span", "name", name), parts.badge, parts.workers, parts.waiting),
    parts.facts, parts.buttons);
  for (const [what, word] of [["hire", "Hire…"], ["fire", "Fire…"]]) {
    const button = make("button", "", word);
    button.type = "button";
    button.setAttribute("aria-label", `${word.slice(0, -1)} workers of ${name}`);
    button.addEventListener("click", () => onAsk(what, pool.name));
    parts.buttons.append(button);
  }
  return parts;
}

function update(parts, pool, status, wrong, doc) {
  const { workers, tasks } = pool;
  const [state, word] = stateOf(pool, wrong);
  parts.badge.dataset.state = state;
  say(parts.badge, word);
  say(parts.workers, `${plural(workers.current, "worker", "workers")}, ${count(workers.needed)} needed`);
  say(parts.waiting, `${count(tasks.waiting)} waiting`);
  const facts = [...factsOf(pool, status, doc.money)];
  fill(parts.facts, facts, () => facts.flatMap(([label, text, kind]) =>
    [make("dt", "", label), make("dd", kind ?? "", short(text, 600))]));
  show(parts.buttons, doc.may_act);
}

/** The state of a pool, and a word for it. */
function stateOf(pool, wrong) {
  const { workers, tasks } = pool;
  if (wrong) return ["wrong", "wrong"];
  if (workers.draining.length) return ["busy", `${workers.draining.length} draining`];
  if (workers.current === null) return ["rest", "not known"];
  if (workers.current < workers.needed) return ["busy", "too few"];
  if (workers.live.length < workers.current) return ["busy", `${workers.live.length} reporting`];
  if (workers.current > workers.needed) return ["busy", "too many"];
  return tasks.running ? ["well", "working"] : ["rest", "at rest"];
}

function* factsOf(pool, status, money) {
  const { workers, tasks } = pool, now = status.at;
  const where = pool.platform + (pool.dynos === "one-off" ? " one-off dynos" : "");
  yield ["workers", `${count(workers.current)} now, ${workers.needed} needed, `
    + `${workers.live.length} reporting; limits ${workers.min} to ${workers.max}, ${where}`];
  yield ["why", pool.policy.why];
  yield ["tasks", tasksOf(tasks, now)];
  yield ["queues", short(pool.queues.join(", ") || "none yet", 200)];
  const { longest } = workers;
  if (longest) yield ["longest", `${longest.name} on ${longest.worker} for ${span(longest.for)}`];
  for (const drain of workers.drains.slice(0, 5)) {
    const since = drain.since ? ` for ${span(between(drain.since, now))}` : "";
    const left = leftTo(drain) || (workers.live.includes(drain.name) ? "nothing left to do" : "not reporting");
    yield ["drains", `${drain.name}${since}: ${left}`, "amber"];
  }
  if (workers.drains.length > 5) yield ["", `and ${workers.drains.length - 5} more drain`, "amber"];
  if (workers.old.length) yield ["old", `${workers.old.join(", ")}: replaced when done`, "amber"];
  yield ["last", lastOf(pool.last_action, now)];
  if (pool.by_hand && between(pool.by_hand.at, now) < 86400) {
    yield ["by hand", `${pool.by_hand.from} → ${pool.by_hand.to}, ${ago(pool.by_hand.at, now)}`, "amber"];
  }
  if (pool.wish) yield ["asked", wishOf(pool.wish, now), "amber"];
  yield ["next", nextOf(status, pool)];
  const cost = costOf(money, pool.name);
  if (cost) yield ["cost", cost];
}

function tasksOf(tasks, now) {
  const reserved = tasks.reserved ? ` (${count(tasks.reserved)} reserved)` : "";
  const counted = tasks.counted_at ? `counted ${ago(tasks.counted_at, now)}` : "never counted";
  const unknown = tasks.in_broker === null ? "; the broker is not counted now" : "";
  return `${count(tasks.waiting)} waiting${reserved}, ${count(tasks.running)} running, `
    + `${count(tasks.scheduled)} scheduled; ${counted}${unknown}`;
}

function leftTo(drain) {
  const parts = drain.tasks.map((task) => `${task.name} for ${span(task.for)}`);
  const more = Math.max(drain.running - drain.tasks.length, 0);
  if (more) parts.push(`${more} ${parts.length ? "more " : ""}running`);
  if (drain.waiting) parts.push(`${drain.waiting} waiting`);
  const other = drain.busy - Math.max(drain.running, drain.tasks.length) - drain.waiting;
  if (other > 0) parts.push(`${other} to finish`);
  if (drain.returning) parts.push(`${drain.returning} scheduled to give back`);
  return parts.join(", ");
}

function lastOf(action, now) {
  if (!action) return "no hire and no fire yet";
  const would = action.dry_run ? "would " : "";
  const why = action.reason.split(", limits ")[0];
  return `${would}${action.action} ${action.from} → ${action.to}, ${ago(action.at, now)}: ${why}`;
}

function wishOf(wish, now) {
  const bounds = [["at least", wish.least], ["at most", wish.most]].filter(([, n]) => n !== null);
  const asked = bounds.map(([word, n]) => `${word} ${n}`).join(", ");
  return `${asked} ${bounds.at(-1)[1] === 1 ? "worker" : "workers"}, by ${short(wish.by, 80)}, ends ${ago(wish.until, now)}`;
}

function nextOf(status, pool) {
  const due = status.next_evaluation_at, now = status.at;
  if (!due) return "decides when the first process publishes or works";
  const wait = between(now, due);
  const time = wait > 0 ? `within ${span(wait)}` : "when a process of the app reports";
  const call = pool.next_call_at ? `; may hire and fire in ${span(between(now, pool.next_call_at))}` : "";
  return `decides ${time}${call}`;
}

/** The whole app in one sentence, for screen readers. */
export function inOneSentence(status) {
  const sum = (of) => status.pools.reduce((total, pool) => total + (of(pool) ?? 0), 0);
  const wrong = status.trouble.length;
  return [
    wrong ? plural(wrong, "thing is wrong", "things are wrong") : "Nothing is wrong",
    plural(sum((p) => p.workers.current), "worker", "workers"),
    `${count(sum((p) => p.tasks.waiting))} waiting`,
    `${count(sum((p) => p.tasks.running))} running`,
  ].join(", ");
}
