#!/usr/bin/env bash
# Celery: a platform's SIGTERM to every process of a worker loses the running task, soft shutdown or not.
#
# Versions: celery 5.7.0, kombu 5.7.0, redis 8.1.0 (redis-py), with a Redis broker and a prefork worker.
# Behaviour: Heroku sends SIGTERM to every process of a dyno that it stops. A prefork worker has
# `task_acks_late` and `worker_soft_shutdown_timeout` of 20 s, and runs a task of 6 s. Its child process
# ends on the signal, the task is acknowledged as failed (WorkerLostError), and the soft shutdown has
# nothing to wait for. With REMAP_SIGTERM=SIGQUIT in the environment the children ignore SIGTERM, the
# worker shuts down softly, and the task ends well.
# Output seen: plain: the task did not finish, 0 messages are left; remapped: the task finished
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
import pathlib
import time

from celery import Celery

app = Celery("tasks", broker=os.environ["BROKER"])
app.conf.update(
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
    worker_soft_shutdown_timeout=20.0,
)


@app.task
def note(name):
    pathlib.Path(f"{name}.begun").touch()
    time.sleep(6.0)
    pathlib.Path(f"{name}.finished").touch()
PY
export BROKER=redis://127.0.0.1:$port/0

finished() { # says whether the task that runs at the signal finishes; $1 is a name for it
    env/bin/python -c 'import sys, tasks; tasks.note.delay(sys.argv[1])' "$1"
    setsid env/bin/celery -A tasks worker --concurrency 1 \
        --without-gossip --without-mingle --without-heartbeat >"worker-$1.log" 2>&1 &
    local worker=$!
    pids+=("$worker")
    for _ in $(seq 120); do
        if [[ -e $1.begun ]]; then break; fi
        sleep 0.5
    done
    sleep 1
    kill -TERM -- "-$worker"
    wait "$worker" || true
    if [[ -e $1.finished ]]; then echo finished; else echo 'did not finish'; fi
}

left() { # how many messages Redis still has for another worker
    env/bin/python -c '
import os, redis
client = redis.Redis.from_url(os.environ["BROKER"])
print(client.llen("celery") + client.hlen("unacked"))'
}

plain=$(finished plain)
messages=$(left)
remapped=$(REMAP_SIGTERM=SIGQUIT finished remapped)
echo "plain: the task $plain, $messages messages are left; remapped: the task $remapped"
[[ $plain == 'did not finish' && $messages == 0 && $remapped == finished ]]
