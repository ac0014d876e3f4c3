"""``python -m celery_middle_management.demo.with_redis COMMAND …``: with a Redis for trying out.

The command finds its address in ``REDIS_URL``; when it ends, so do the server and the local workers
that were hired by it, and with its exit status we end. On a machine without a redis-server, the
database at ``REDIS_URL`` is taken, if it is empty.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from celery import Celery

from celery_middle_management.demo.given_redis import a_redis
from celery_middle_management.demo.stage import Processes
from celery_middle_management.platforms.local_files import default_directory
from celery_middle_management.settings.secret import Secret


def main(command: list[str]) -> int:
    """Run *command*; returns its exit status, as a shell has it."""
    if not command or command[0].startswith("-"):
        print(f"usage: python -m {__spec__.name} COMMAND ...", file=sys.stderr)
        return 2
    try:
        server = a_redis()
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
            # Without the ledger no process can decide to hire.
            server.kill()
            _stop_workers(server.url)


def _run(command: list[str], env: dict[str, str]) -> int:
    process: subprocess.Popen[bytes] | None = None

    def hand_on(number: int, _: object) -> None:
        # A terminal has sent Ctrl-C to the command itself.
        if process is not None and number != signal.SIGINT:
            process.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, hand_on)
    process = subprocess.Popen(command, env=env)
    status = process.wait()
    return status if status >= 0 else 128 - status


def _stop_workers(redis_url: str) -> None:
    """End the local workers that were hired by the ledger at *redis_url*, which is no more."""
    workers = Processes(Celery(set_as_current=False), (), default_directory(Secret(redis_url)))
    if left := len(workers.alive()):
        workers.kill()
        print(f"Stopped {left} worker{'' if left == 1 else 's'}.", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
