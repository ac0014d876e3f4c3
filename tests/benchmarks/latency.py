"""The time from the first of 3 ``delay()``s in a row until the formation is set from 0 to 3."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

from celery_middle_management.demo.redis_server import RedisServer
from tests.benchmarks.figures import Figure, command, median
from tests.integration.stage import stage
from tests.servers import ROOT, wait_for

SCRIPT = """
import time
from tests.benchmarks.app import work
work.delay(2)
print(time.time(), flush=True)
work.delay(2)
work.delay(2)
"""
LIVES_ON = "import sys; sys.stdin.read()"


def latency(server: RedisServer, code: str) -> float:
    """Milliseconds, for a process that has not published before."""
    with stage(server.url, command=None) as on:
        on.redis.flushall()
        with subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, **on.env},
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            began = float(process.stdout.readline())
            wait_for(lambda: on.emulator.changes, message="no worker was hired")
            process.stdin.close()
            process.wait(10.0)
        change = on.emulator.changes[0]
        assert (change.before, change.after) == (0, 3), change
        return (change.at_wall - began) * 1000


def measure(tries: int) -> Iterator[Figure]:
    with RedisServer() as server:
        latency(server, SCRIPT)
        values = [
            [latency(server, code) for code in (SCRIPT + LIVES_ON, SCRIPT)] for _ in range(tries)
        ]
    for name, column in zip(("lives on", "ends at once"), zip(*values, strict=True), strict=True):
        yield median(f"a publisher that {name}", column, "ms", limit="<= 250")


if __name__ == "__main__":
    command(__doc__, measure, tries=10)
