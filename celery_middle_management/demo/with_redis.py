"""``python -m celery_middle_management.demo.with_redis COMMAND …``: with a Redis for trying out.

The command finds the address of the server in ``REDIS_URL``; when it ends, so does the server, and
with its exit status we end.
"""

from __future__ import annotations

import os
import subprocess
import sys

from celery_middle_management.demo.redis_server import (
    RedisServer,
    find_redis_server,
    no_redis_server,
)


def main(command: list[str]) -> int:
    """Run *command*; returns its exit status."""
    if not command:
        print(f"usage: python -m {__spec__.name} COMMAND ...", file=sys.stderr)
        return 2
    if find_redis_server() is None:
        print(no_redis_server(), file=sys.stderr)
        return 1
    with RedisServer() as server:
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
