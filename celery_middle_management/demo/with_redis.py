"""``python -m celery_middle_management.demo.with_redis COMMAND …``: with a Redis for trying out.

The command finds its address in ``REDIS_URL``; when it ends, so does the server, and with its exit
status we end. On a machine without a redis-server, the database at ``REDIS_URL`` is taken, if it is
empty.
"""

from __future__ import annotations

import os
import subprocess
import sys

from celery_middle_management.demo.given_redis import a_redis


def main(command: list[str]) -> int:
    """Run *command*; returns its exit status."""
    if not command:
        print(f"usage: python -m {__spec__.name} COMMAND ...", file=sys.stderr)
        return 2
    try:
        server = a_redis()
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    with server:
        try:
            env = {**os.environ, "REDIS_URL": server.url}
            return subprocess.run(command, env=env, check=False).returncode
        except FileNotFoundError:
            print(f"there is no command {command[0]!r}", file=sys.stderr)
            return 127
        except KeyboardInterrupt:
            return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
