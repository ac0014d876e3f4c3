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

let asked = null;
let onDone = () => {};

/** Connects the buttons; `done` is called after each change. */
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
  asked = { what, pool };
  say($("dialog-title"), pool ? `${plan.title}: ${short(pool, 60)}` : plan.title);
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
  const form = new FormData($("form"));
  const lasts = form.get("for") ? Number(form.get("for")) : null;
  const how = asked.what === "pause"
    ? { hires: form.has("hires"), fires: form.has("fires"), for: lasts }
    : { pool: asked.pool, number: Number(form.get("number")), for: lasts };
  $("do").disabled = true;
  try {
    await ask(asked.what, how);
    $("dialog").close();
    onDone();
  } catch (error) {
    say($("dialog-error"), sentence(error));
  } finally {
    $("do").disabled = false;
  }
}

async function resume() {
  $("resume").disabled = true;
  try {
    await ask("resume", {});
    onDone();
  } catch (error) {
    onDone(sentence(error));
  } finally {
    $("resume").disabled = false;
  }
}

function sentence(error) {
  const said = error.message || "The server does not answer";
  return `${said[0].toUpperCase()}${said.slice(1)}.`;
}
