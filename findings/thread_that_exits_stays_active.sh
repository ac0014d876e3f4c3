#!/usr/bin/env bash
# Celery's threads pool: a task that ends by SystemExit is shown as active for as long as the worker
# lives, although its thread goes on to other tasks.
#
# Versions: celery 5.7.0, kombu 5.7.0, redis 8.1.0 (redis-py), with a Redis broker.
# Behaviour: apply_target() passes such an exception to the request's on_success(), which expects a
# triple and raises. So the request is never removed from `active_requests` and `reserved_requests`,
# no task_postrun is sent, and `inspect active` shows it for ever. Code that counts free slots by these
# sets, such as autoscaling by load or a drain, eventually finds none.
# Output seen: done after it: 5; shown as active: ['tasks.leave', 'tasks.leave']
# Needs: python3 (3.10 or newer), redis-server.
set -euo pipefail

work=$(mktemp -d)
pids=()
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait; rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install -q 'celery[redis]==5.7.0' 'kombu==5.7.0' 'redis==8.1.0'

port=$(env/bin/python -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
redis-server --bind 127.0.0.1 --port "$port" --save '' --dir "$work" >redis.log 2>&1 &
pids+=($!)

cat >tasks.py <<'PY'
import os
import sys

from celery import Celery

app = Celery("tasks", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.broker_connection_retry_on_startup = True


@app.task(ignore_result=True)
def leave():
    sys.exit()


@app.task
def add(a, b):
    return a + b
PY
export BROKER=redis://127.0.0.1:$port/0

env/bin/celery -A tasks worker --pool threads --concurrency 2 --without-gossip --without-mingle \
    >worker.log 2>&1 &
pids+=($!)
cat >look.py <<'PY'
import sys
import time

from tasks import add, app, leave

for _ in range(2):
    leave.delay()
done = [add.delay(1, 1).get(timeout=60) for _ in range(5)]
time.sleep(5)
[active] = app.control.inspect(timeout=5).active().values()
names = [task["name"] for task in active]
print(f"done after it: {len(done)}; shown as active: {names}")
sys.exit(names != ["tasks.leave", "tasks.leave"])
PY
env/bin/python look.py
