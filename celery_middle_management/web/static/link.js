// Talks to the server: gets the document, and sends what a person asks for.

const TIMEOUT = 12000;
const token = document.querySelector('meta[name="mm-token"]').content;
const LOGGED_OUT = "You may no longer see this page. Reload it to log in";

/** Why there is no answer, in a sentence; `unknown`: what was asked for may have been done. */
export class NoAnswer extends Error {
  constructor(sentence, unknown = false) {
    super(sentence);
    this.unknown = unknown;
  }
}

let known = null;

/** Gets the document. The server leaves out what we have of it. */
export async function latest() {
  const has = known ? Object.values(known.tags).join(",") : "";
  const sent = await request(`data?has=${has}`);
  for (const [name, span] of Object.entries(sent.history)) {
    if (span.only_last) sent.history[name] = completed(known.history[name], span);
  }
  sent.events ??= known.events;
  known = sent;
  return sent;
}

/** Puts the last interval to those that we have. */
function completed(old, last) {
  const pools = {};
  for (const [pool, rows] of Object.entries(last.pools)) {
    pools[pool] = {};
    for (const [name, row] of Object.entries(rows)) {
      pools[pool][name] = [...old.pools[pool][name].slice(0, -1), ...row];
    }
  }
  return { ...last, pools };
}

/** Asks for a change; returns the entry of the history. Asked again with the same `how.id`, it is made once. */
export function ask(what, how) {
  return request(what, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-MM-Token": token },
    body: JSON.stringify(how),
  });
}

async function request(address, options = {}) {
  let response, body;
  try {
    response = await fetch(address, {
      cache: "no-store", credentials: "same-origin", signal: AbortSignal.timeout(TIMEOUT), ...options,
    });
    body = await response.json();
  } catch (error) {
    if (!response || (!response.redirected && response.status >= 500)) throw new NoAnswer("", true);
    throw refusal(response);
  }
  if (response.ok && isObject(body)) return body;
  if (typeof body?.error === "string") throw new NoAnswer(body.error, body.unknown);
  if (response.status >= 500) throw new NoAnswer("", true);
  throw refusal(response);
}

/** What an answer means that is not ours: of the login around the page, or of a proxy. */
function refusal({ redirected, ok, status }) {
  const login = redirected || ok || status === 401 || status === 403;
  return new NoAnswer(login ? LOGGED_OUT : `The request was refused with status ${status}`);
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
