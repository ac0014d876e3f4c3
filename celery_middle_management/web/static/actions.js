// The buttons: what a person asks for, in a dialog, and what came of it.

import { $, make, say, show } from "./dom.js";
import { ask } from "./link.js";
import { short } from "./words.js";

const TIMES = [["10 minutes", 600], ["1 hour", 3600], ["8 hours", 28800], ["1 day", 86400]];
const PLANS = {
  pause: { title: "Pause all pools", about: "While fires are paused, workers that drain go back to work.", verb: "Pause" },
  hire: { title: "Hire workers", about: "Never more than max_workers.", verb: "Hire" },
  fire: { title: "Fire workers", about: "Never fewer than min_workers. Workers finish their tasks first, as always.", verb: "Fire" },
};

/** What the open dialog asks for, and the ids of its requests that have not succeeded, by what they say. */
let asked = null;
/** The status that was drawn last. */
let status = null;
/** Tells of a status whether what could not be said to be done was done after all. */
let isDone = null;
let onDone = () => {};

/** Connects the buttons; `done` is called after each request that may have changed something. */
export function connect(done) {
  onDone = done;
  $("pause").addEventListener("click", () => open("pause"));
  $("resume").addEventListener("click", () => resume());
  $("cancel").addEventListener("click", () => $("dialog").close());
  $("form").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
}

/** Takes a new status: it may show that a Resume without an answer was done. */
export function see(latest) {
  status = latest;
  if (isDone?.(status)) failed("");
}

/** Opens the dialog that asks how to pause, hire or fire. */
export function open(what, pool = null) {
  const plan = PLANS[what];
  const title = pool ? `${plan.title}: ${short(pool, 60)}` : plan.title;
  asked = { what, pool, title, sent: new Map() };
  $("form").reset();
  $("do").disabled = false;
  say($("dialog-title"), title);
  say($("dialog-about"), plan.about);
  say($("dialog-error"), "");
  say($("do"), plan.verb);
  show($("ask-what"), what === "pause");
  show($("ask-number"), what !== "pause");
  const times = what === "pause" ? [["until it is resumed", ""], ...TIMES] : TIMES;
  $("for").replaceChildren(...times.map(([word, seconds]) => {
    const option = make("option", "", word);
    option.value = seconds;
    return option;
  }));
  $("dialog").showModal();
}

async function send() {
  const mine = asked;
  const form = new FormData($("form"));
  const lasts = form.get("for") ? Number(form.get("for")) : null;
  const how = mine.what === "pause"
    ? { hires: form.has("hires"), fires: form.has("fires"), for: lasts }
    : { pool: mine.pool, number: Number(form.get("number")), for: lasts };
  $("do").disabled = true;
  failed("");
  // A pause that is asked for twice is one pause; one that somebody has ended meanwhile begins anew.
  const once = mine.what !== "pause";
  const error = await request(mine.what, how, once ? mine.sent : new Map());
  // Meanwhile the dialog may have been closed, and opened for something else.
  if (asked === mine && $("dialog").open) {
    $("do").disabled = false;
    say($("dialog-error"), error ? `${sentence(error)}${error.unknown && once ? " Sent again from here, it is done once." : ""}` : "");
    if (!error) $("dialog").close();
  } else if (error) {
    failed(`${mine.title}: ${sentence(error)}`);
  }
}

async function resume() {
  $("resume").disabled = true;
  failed("");
  const done = status.pause ? (later) => !later.pause : (later) => !later.pools.some((pool) => pool.wish);
  // Each press is a request of its own: since the last one, somebody may have paused again.
  const error = await request("resume", {}, new Map());
  if (error) failed(`Resume: ${sentence(error)}`, error.unknown ? done : null);
  $("resume").disabled = false;
}

/** Asks for a change, with the id that the same request had if it was `sent` and did not succeed; returns the error, or null. */
async function request(what, how, sent) {
  const key = JSON.stringify(how);
  if (!sent.has(key)) sent.set(key, newId());
  try {
    await ask(what, { ...how, id: sent.get(key) });
    sent.delete(key);
    onDone();
    return null;
  } catch (error) {
    // It keeps its id even if it is refused now: an earlier try may have been done.
    if (error.unknown) onDone();
    return error;
  }
}

function newId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Says, outside of any dialog, that a request failed, until a status shows that it is `done`. */
function failed(text, done = null) {
  isDone = done;
  say($("failed"), text);
  show($("failed"), text !== "");
}

function sentence(error) {
  const said = error.message || "The server does not answer, and may have done it or not: see the decisions";
  return `${said[0].toUpperCase()}${said.slice(1)}.`;
}
