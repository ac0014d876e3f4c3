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

/** What the open dialog asks for, and the requests of it to which there was no answer, by what they say. */
let asked = null;
const resuming = new Map();
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
  const error = await request(mine.what, how, mine.sent);
  // Meanwhile the dialog may have been closed, and opened for something else.
  if (asked === mine && $("dialog").open) {
    $("do").disabled = false;
    say($("dialog-error"), error ? `${sentence(error)}${error.unknown ? " Sent again from here, it is done once." : ""}` : "");
    if (!error) $("dialog").close();
  } else if (error) {
    failed(`${mine.title}: ${sentence(error)}`);
  }
}

async function resume() {
  $("resume").disabled = true;
  failed("");
  const error = await request("resume", {}, resuming);
  if (error) failed(`Resume: ${sentence(error)}`);
  $("resume").disabled = false;
}

/** Asks for a change, with the id that the same request had if it was `sent` and not answered; returns the error, or null. */
async function request(what, how, sent) {
  const key = JSON.stringify(how);
  if (!sent.has(key)) sent.set(key, newId());
  try {
    await ask(what, { ...how, id: sent.get(key) });
    sent.delete(key);
    onDone();
    return null;
  } catch (error) {
    if (error.unknown) onDone();
    else sent.delete(key);
    return error;
  }
}

function newId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Says, outside of any dialog, that a request failed. */
function failed(text) {
  say($("failed"), text);
  show($("failed"), text !== "");
}

function sentence(error) {
  const said = error.message || "The server does not answer, and may have done it or not: see the decisions";
  return `${said[0].toUpperCase()}${said.slice(1)}.`;
}
