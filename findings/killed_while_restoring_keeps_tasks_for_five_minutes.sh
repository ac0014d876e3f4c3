#!/usr/bin/env bash
# kombu on Redis: after a consumer is killed while it gives unacknowledged messages back, no other
# consumer gives any back for five minutes, however short the visibility timeout is.
#
# Versions: kombu 5.7.0, redis 8.1.0 (redis-py), with a Redis broker.
# Behaviour: restore_visible() holds the lock `unacked_mutex` meanwhile, which expires after
# `unacked_mutex_expire`, 300 s. A process that ends, or does not get Redis's answer, while it has the
# lock leaves it there. So with a visibility timeout of one second, the tasks of a dead worker may come
# back after 300 s.
# Output seen:
#   the lock expires in 300 s; given back after 20 s: 0; after the lock has gone: 1
# Needs: python3 (3.10 or newer), redis-server.
set -euo pipefail

work=$(mktemp -d)
pids=()
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait; rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install -q 'kombu==5.7.0' 'redis==8.1.0' packaging

port=$(env/bin/python -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
redis-server --bind 127.0.0.1 --port "$port" --save '' --dir "$work" >redis.log 2>&1 &
pids+=($!)
export BROKER=redis://127.0.0.1:$port/0

cat >consumer.py <<'PY'
import os
import signal
import sys

from kombu import Connection

options = {"visibility_timeout": 1}
connection = Connection(os.environ["BROKER"], transport_options=options)
queue = connection.SimpleQueue("tasks")
qos = queue.channel.qos
if sys.argv[1] == "take":
    queue.put("a task")
    queue.get(timeout=10)
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "die":
    qos.restore_by_tag = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
qos.restore_visible(interval=1)
PY
cat >look.py <<'PY'
import os
import subprocess
import sys
import time

import redis

client = redis.Redis.from_url(os.environ["BROKER"])
while True:
    try:
        client.ping()
        break
    except redis.ConnectionError:
        time.sleep(0.1)


def consumer(does):
    subprocess.run([sys.executable, "consumer.py", does])


consumer("take")
time.sleep(3)
consumer("die")
expires = client.ttl("unacked_mutex")
for _ in range(10):
    time.sleep(2)
    consumer("restore")
waiting = client.llen("tasks")
client.delete("unacked_mutex")
consumer("restore")
print(f"the lock expires in {expires} s; given back after 20 s: {waiting}; "
      f"after the lock has gone: {client.llen('tasks')}")
sys.exit(not (expires > 290 and waiting == 0 and client.llen("tasks") == 1))
PY
env/bin/python look.py
