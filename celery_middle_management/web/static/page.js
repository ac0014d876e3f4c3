// The page: asks the server every two seconds, and draws what is new.

import * as actions from "./actions.js";
import { $, fill, make, say, show } from "./dom.js";
import * as events from "./events.js";
import * as link from "./link.js";
import { totalOf } from "./money.js";
import * as plots from "./plots.js";
import * as pools from "./pools.js";
import { count, second, short, span, when, wait, zone } from "./words.js";

/** How often (ms) the page asks: while it is seen, and while it is not. */
const SEEN = 2000, UNSEEN = 30000;
/** How often (ms) a screen reader is told how things are, if they are different. */
const SPOKEN = 30000;

/** How many entries the ledger keeps. */
const KEPT = 1000;

let doc = null;
/** The entries that the list of decisions can show. */
let listed = [];
let got = 0;
let lost = 0;
let refusal = "";
let spokenAt = 0;
let timer = 0;
/** Whether a question is under way, and whether another one is to follow it at once. */
let asking = false, again = false;
/** What is wrong with this page itself. */
let fault = "";

async function poll() {
  again = asking;
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  const before = doc;
  try {
    doc = await link.latest();
    [got, lost, refusal] = [Date.now(), 0, ""];
  } catch (error) {
    if (!(error instanceof link.NoAnswer)) console.error(error);
    lost ||= got || Date.now();
    refusal = error.message || "";
  }
  asking = false;
  timer = setTimeout(poll, again ? 0 : document.hidden ? UNSEEN : SEEN);
  try {
    if (doc !== before) draw();
    fault = "";
  } catch (error) {
    console.error(error);
    fault = "Not all that the server sent could be shown: reload the page";
  }
  connection();
}

/** Says whether what is shown is up to date, and if not, why and how old it is. */
function connection() {
  const since = `${refusal ? `${trimmed(refusal)}. ` : ""}No answer since ${second(lost)}`;
  const old = doc?.problem ? `${trimmed(doc.problem)}. What you see is from ${second(got - doc.age * 1000)}` : "";
  const text = lost ? (got ? `${since}; what you see is from then.` : `${refusal ? trimmed(refusal) : "The server does not answer"}.`) : fault ? `${fault}.` : old && `${old}.`;
  say($("connection"), text);
  show($("connection"), text !== "");
  document.body.classList.toggle("stale", text !== "");
  const age = doc ? (Date.now() - got) / 1000 + doc.age : 0;
  say($("age"), doc ? `Updated ${age < 5 ? "now" : `${span(age)} ago`}` : "");
}

function trimmed(sentence) {
  return sentence.replace(/\.$/, "");
}

function draw() {
  const { status } = doc;
  trouble(status);
  states(status);
  totals(doc);
  pools.draw(doc, actions.open);
  choices(status);
  actions.see(status);
  history();
  show($("buttons"), doc.may_act);
  say($("foot"), `Times are those of ${zone}. You are ${doc.visitor}${doc.may_act ? "" : ", and may look, but not act"}.`);
  document.title = `${status.trouble.length ? `(${status.trouble.length} wrong) ` : ""}${document.title.replace(/^\(.*?\) /, "")}`;
  speak(status);
}

function trouble(status) {
  // The time since when does not change, so that it is read aloud once.
  const told = status.trouble.map((t) => [t.pool, t.what, t.since]);
  fill($("trouble"), told, () => told.map(([pool, what, since]) => make("p", "",
    make("strong", "", "Wrong"), make("span", "", pool ? `${short(pool, 60)}: ` : "", short(what, 1200),
      since ? make("span", "since", ` (since ${when(since, status.at)})`) : null))));
  show($("trouble"), told.length > 0);
}

/** What is paused, by whom and until when; each on its own if that differs. */
function paused(pause, at) {
  const which = ["hires", "fires"].filter((what) => pause[what]);
  const ends = which.map((what) => {
    const until = pause[`${what}_until`];
    return `${short(pause[`${what}_by`], 80)}, ${until ? `until ${when(until, at)}` : "until it is resumed"}`;
  });
  if (new Set(ends).size > 1) return which.map((what, n) => `no ${what}, by ${ends[n]}`).join("; ");
  const since = pause.since ? ` (since ${when(pause.since, at)})` : "";
  return `${which.map((what) => `no ${what}`).join(" and ")}, by ${ends[0]}${since}`;
}

function states(status) {
  const lines = [];
  if (status.dry_run) lines.push(["Dry run", "decisions are recorded, and nothing is changed"]);
  if (status.inactive) lines.push(["Inactive", `this process evaluates nothing: ${status.inactive}`]);
  if (status.pause) lines.push(["Paused", paused(status.pause, status.at)]);
  fill($("states"), lines, () => lines.map(([word, text]) =>
    make("p", "band state", make("strong", "", word), make("span", "", text))));
}

function totals({ status, money }) {
  const sum = (of) => status.pools.reduce((total, pool) => total + (of(pool) ?? 0), 0);
  const waits = status.pools.map((pool) => pool.last_hour.mean_wait).filter((n) => n !== null);
  const needed = sum((pool) => pool.workers.needed), draining = sum((pool) => pool.workers.draining.length);
  const told = [
    ["Workers", count(sum((pool) => pool.workers.current)), `${count(needed)} needed${draining ? `, ${draining} draining` : ""}`],
    ["Waiting", count(sum((pool) => pool.tasks.waiting)), "tasks"],
    ["Running", count(sum((pool) => pool.tasks.running)), "tasks"],
    ["Scheduled", count(sum((pool) => pool.tasks.scheduled)), "tasks"],
    ["Longest mean wait", waits.length ? wait(Math.max(...waits)) : "–", "of a pool, last hour"],
    ...totalOf(money),
  ];
  fill($("totals"), told, () => told.map(([term, number, about]) =>
    make("div", "total", make("dt", "", term), make("dd", "", make("b", "", number), make("span", "", about)))));
}

function choices(status) {
  const names = status.pools.map((pool) => pool.name);
  const select = $("which"), value = select.value;
  fill(select, names, () => [["", "all"], ...names.map((name) => [name, short(name, 60)])].map(([name, word]) => {
    const option = make("option", "", word);
    option.value = name;
    return option;
  }));
  select.value = names.includes(value) ? value : "";
}

/** Draws the chosen span of the history: plots, and the list of decisions. */
function history() {
  if (!doc) return;
  const name = document.querySelector('input[name="span"]:checked').value;
  const pool = $("which").value || null;
  const start = Date.parse(doc.history[name].start), oldest = doc.events.at(-1)?.at;
  listed = events.chosen(doc.events, pool, start);
  plots.draw(doc, name, pool, listed);
  // The ledger keeps a number of entries, whatever their age.
  const cut = doc.events.length >= KEPT && Date.parse(oldest) > start;
  events.list(listed, doc.status.at, name, cut ? oldest : null);
}

function speak(status) {
  if (Date.now() - spokenAt < SPOKEN) return;
  spokenAt = Date.now();
  say($("spoken"), pools.inOneSentence(status));
}

for (const choice of [...document.querySelectorAll('input[name="span"]'), $("which")]) {
  choice.addEventListener("change", () => {
    events.forgetMore();
    history();
  });
}
events.onMore(history);
actions.connect(poll);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) poll();
});
setInterval(connection, 1000);
poll();
plots.load((key) => events.pointOut(key, listed, history));
