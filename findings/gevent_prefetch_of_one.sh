#!/usr/bin/env bash
# Celery's gevent pool with a prefetch count of one: up to two seconds pass between two tasks.
#
# Versions: celery 5.7.0, kombu 5.7.0, gevent 26.9.0, redis 8.1.0 (redis-py), with a Redis broker.
# Behaviour: with `--concurrency 1 --prefetch-multiplier 1`, the worker's loop asks Redis for nothing
# while its one task is unacknowledged. It then sleeps in poll() for the whole two seconds of its
# drain_events(), although the task ends at once: nothing wakes it when a greenlet has finished. Ten
# empty tasks take more than 10 s; with `--prefetch-multiplier 4` they take a fraction of that.
# Output seen: multiplier 1: 18.0 s; multiplier 4: 0.0 s
# Needs: python3 (3.10 or newer), redis-server.
set -euo pipefail

work=$(mktemp -d)
pids=()
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait; rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install -q 'celery[redis]==5.7.0' 'kombu==5.7.0' 'gevent==26.9.0' 'redis==8.1.0'

port=$(env/bin/python -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
redis-server --bind 127.0.0.1 --port "$port" --save '' --dir "$work" >redis.log 2>&1 &
pids+=($!)

cat >tasks.py <<'PY'
import os
import time

from celery import Celery

app = Celery("tasks", broker=os.environ["BROKER"])
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)


@app.task
def note():
    with open(os.environ["MARKS"], "a") as marks:
        marks.write(f"{time.monotonic()}\n")
PY
export BROKER=redis://127.0.0.1:$port/0

seconds() { # the time from the first of ten tasks to the last, with this prefetch multiplier
    export MARKS=$work/marks-$1
    touch "$MARKS"
    env/bin/python -c 'import tasks; [tasks.note.delay() for _ in range(10)]'
    env/bin/celery -A tasks worker --pool gevent --concurrency 1 --prefetch-multiplier "$1" \
        --without-gossip --without-mingle --without-heartbeat >"worker-$1.log" 2>&1 &
    local worker=$!
    pids+=("$worker")
    for _ in $(seq 120); do
        if [[ $(wc -l <"$MARKS") -eq 10 ]]; then break; fi
        sleep 0.5
    done
    kill "$worker"
    wait "$worker" || true
    env/bin/python -c 'import sys; t = [float(l) for l in open(sys.argv[1])]; assert len(t) == 10, t; print(round(t[-1] - t[0], 1))' "$MARKS"
}

one=$(seconds 1)
four=$(seconds 4)
echo "multiplier 1: $one s; multiplier 4: $four s"
env/bin/python -c 'import sys; one, four = map(float, sys.argv[1:]); sys.exit(not (one > 10 and one > 3 * four))' "$one" "$four"
