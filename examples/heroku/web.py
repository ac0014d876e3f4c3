"""A page that publishes tasks and shows the workers."""

from __future__ import annotations

import redis
import tasks
from flask import Flask, Response, jsonify, redirect, request
from flask.typing import ResponseReturnValue

import celery_middle_management

PAGE = """<!doctype html>
<title>Middle Management</title>
<style>body { font: 16px/1.5 sans-serif; max-width: 40em; margin: 2em auto }</style>
<h1>Middle Management</h1>
<form method="post">
  Send <input name="count" type="number" min="1" max="1000" value="20" required> e-mails
  of <input name="seconds" type="number" min="0" max="60" step="0.1" value="5" required> s each.
  <button>Publish</button>
</form>
<p id="status">Loading …</p>
<script>
  const describe = pool => `${pool.name}: ${pool.workers.current ?? "?"} workers of at most `
    + `${pool.workers.max}, ${pool.workers.needed} needed; ${pool.tasks.waiting} tasks waiting, `
    + `${pool.tasks.running} running, ${pool.tasks.scheduled} scheduled`;
  async function show() {
    try {
      const status = await (await fetch("status")).json();
      document.querySelector("#status").innerText = status.pools.map(describe).join("\\n");
    } catch (error) {
      document.querySelector("#status").innerText = "Cannot read the status: " + error;
    }
    setTimeout(show, 5000);
  }
  show();
</script>
"""

app = Flask(__name__)


@app.get("/")
def page() -> str:
    return PAGE


@app.post("/")
def publish() -> ResponseReturnValue:
    count = request.form.get("count", 0, type=int)
    seconds = request.form.get("seconds", -1.0, type=float)
    if not (0 < count <= 1000 and 0 <= seconds <= 60):
        return Response("1 to 1000 e-mails of 0 to 60 seconds, please\n", 400)
    for number in range(1, count + 1):
        tasks.send_email.delay(number, seconds)
    return redirect("/", 303)


@app.get("/status")
def status() -> Response:
    """The document of ``celery -A tasks mm status --json``."""
    try:
        return jsonify(celery_middle_management.status(tasks.app))
    except redis.RedisError as error:
        return Response(f"Cannot read Redis: {error}\n", 502, mimetype="text/plain")
