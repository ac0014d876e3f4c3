"""``python -m celery_middle_management.demo.with_redis COMMAND …``: run a command with a Redis.

The command finds the address of the Redis in ``REDIS_URL``. When it ends, the server and the local
workers that it hired are stopped, and this process ends with its exit status. On a machine without
redis-server, the database at ``REDIS_URL`` is used if it is empty.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from celery import Celery

from celery_middle_management.demo.given_redis import available_redis
from celery_middle_management.demo.stage import Processes
from celery_middle_management.platforms.local_files import default_directory
from celery_middle_management.settings.secret import Secret


def main(command: list[str]) -> int:
    """Run *command* and return its exit status, as a shell would."""
    if not command or command[0].startswith("-"):
        print(f"usage: python -m {__spec__.name} COMMAND ...", file=sys.stderr)
        return 2
    try:
        server = available_redis()
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    with server:
        try:
            return _run(command, {**os.environ, "REDIS_URL": server.url})
        except FileNotFoundError:
            print(f"there is no command {command[0]!r}", file=sys.stderr)
            return 127
        finally:
            # Without the ledger, no process can decide to hire.
            server.kill()
            _stop_workers(server.url)


def _run(command: list[str], env: dict[str, str]) -> int:
    process: subprocess.Popen[bytes] | None = None

    def forward(number: int, _: object) -> None:
        # The terminal sends Ctrl-C to the command itself.
        if process is not None and number != signal.SIGINT:
            process.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, forward)
    process = subprocess.Popen(command, env=env)
    status = process.wait()
    return status if status >= 0 else 128 - status


def _stop_workers(redis_url: str) -> None:
    """Kill the local workers of the ledger at *redis_url*, which is already stopped."""
    workers = Processes(Celery(set_as_current=False), (), default_directory(Secret(redis_url)))
    if left := len(workers.alive()):
        workers.kill()
        print(f"Stopped {left} worker{'' if left == 1 else 's'}.", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
