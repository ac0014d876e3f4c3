#!/usr/bin/env bash
# Celery with RabbitMQ and a prefetch count of one: at an idle worker, a task waits behind scheduled
# ones, up to a second for each of them.
#
# Versions: celery 5.7.0, kombu 5.7.0, amqp 5.4.2, RabbitMQ 3.10.8, the prefork pool.
# Behaviour: each task with an ETA raises the prefetch count by one, and the worker's loop sends the
# new count between two of its turns. The hub reads such a task while it runs ready callbacks, before
# it polls. It then polls until the next timer, because the broker sends nothing until it has the new
# count. So a worker that does nothing else takes one to three scheduled tasks a second, and a task
# without an ETA that was published after 40 of them begins only when those have been taken.
# Output seen: alone: 0.0 s; behind 40 scheduled tasks: 39.8 s
# Needs: python3 (3.10 or newer), rabbitmq-server.
set -euo pipefail

work=$(mktemp -d)
pids=()
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait; rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install -q 'celery==5.7.0' 'kombu==5.7.0' 'amqp==5.4.2'

read -r port dist epmd < <(env/bin/python -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(s.getsockname()[1] for s in sockets))')
server=/usr/lib/rabbitmq/bin/rabbitmq-server
if [[ ! -x $server ]]; then server=$(command -v rabbitmq-server); fi
echo '[].' >plugins
epmd -port "$epmd" >epmd.log 2>&1 &
pids+=($!)
env HOME="$work" ERL_EPMD_PORT="$epmd" RABBITMQ_NODENAME="finding@localhost" \
    RABBITMQ_NODE_PORT="$port" RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_DIST_PORT="$dist" \
    RABBITMQ_MNESIA_BASE="$work/data" RABBITMQ_LOG_BASE="$work/logs" RABBITMQ_LOGS=- \
    RABBITMQ_CONF_ENV_FILE="$work/none" RABBITMQ_ENABLED_PLUGINS_FILE="$work/plugins" \
    "$server" >rabbitmq.log 2>&1 &
pids+=($!)

cat >tasks.py <<'PY'
import os
import time

from celery import Celery

app = Celery("tasks", broker=os.environ["BROKER"])
app.conf.update(
    task_ignore_result=True, worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True
)


@app.task
def note():
    with open(os.environ["MARKS"], "a") as marks:
        marks.write(f"{time.monotonic()}\n")
PY
export BROKER=amqp://guest:guest@127.0.0.1:$port// MARKS=$work/marks
touch "$MARKS"
for _ in $(seq 60); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then break; fi
    sleep 1
done

env/bin/celery -A tasks worker --concurrency 1 --without-gossip --without-mingle >worker.log 2>&1 &
pids+=($!)
cat >wait.py <<'PY'
import os
import sys
import time

from tasks import note


def begun():
    return [float(line) for line in open(os.environ["MARKS"])]


def waits(scheduled):
    """How long a task waits that is published after so many scheduled ones."""
    for _ in range(scheduled):
        note.apply_async(countdown=600)
    before, published = len(begun()), time.monotonic()
    note.delay()
    while len(begun()) == before and time.monotonic() - published < 90:
        time.sleep(0.05)
    return begun()[before] - published


waits(0)  # the worker starts
alone, behind = waits(0), waits(40)
print(f"alone: {alone:.1f} s; behind 40 scheduled tasks: {behind:.1f} s")
sys.exit(not (alone < 1 and behind > 5))
PY
env/bin/python wait.py
