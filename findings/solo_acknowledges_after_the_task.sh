#!/usr/bin/env bash
# Celery's solo pool: a task with early acknowledgement is in fact acknowledged late.
#
# Versions: celery 5.7.0, kombu 5.7.0, redis 8.1.0 (redis-py), with a Redis broker.
# Behaviour: `task_acks_late` is off, so a message should be acknowledged just before its task begins.
# A prefork worker does that. A solo worker marks the request as acknowledged, but tells the broker only
# in the next turn of its event loop, which comes when the task has ended. While the task runs, the
# broker holds the message as unacknowledged, and if the worker dies, gives it to another one.
# Output seen: prefork: 0 messages are unacknowledged while the task runs; solo: 1
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
import time

import redis
from celery import Celery

app = Celery("tasks", broker=os.environ["BROKER"])
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)


@app.task
def look(result):
    time.sleep(3.0)
    held = redis.Redis.from_url(os.environ["BROKER"]).zcard("unacked_index")
    with open(result + ".new", "w") as file:
        file.write(str(held))
    os.rename(result + ".new", result)
PY
export BROKER=redis://127.0.0.1:$port/0

unacknowledged() { # according to Redis, while a worker of this pool runs the only task
    local result=$work/result-$1
    env/bin/python -c 'import sys, tasks; tasks.look.delay(sys.argv[1])' "$result"
    env/bin/celery -A tasks worker --pool "$1" --concurrency 1 \
        --without-gossip --without-mingle --without-heartbeat >"worker-$1.log" 2>&1 &
    local worker=$!
    pids+=("$worker")
    for _ in $(seq 120); do
        if [[ -e $result ]]; then break; fi
        sleep 0.5
    done
    kill "$worker"
    wait "$worker" || true
    cat "$result"
}

prefork=$(unacknowledged prefork)
solo=$(unacknowledged solo)
echo "prefork: $prefork messages are unacknowledged while the task runs; solo: $solo"
[[ $prefork == 0 && $solo == 1 ]]
