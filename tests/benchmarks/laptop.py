"""How long a user's tests and `collectstatic` take on a laptop, relative to without the package.

With production's settings, without a key, not on a dyno. The tests' database and broker are in
memory, or the broker is a Redis on this machine.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from celery_middle_management.demo.redis_server import RedisServer
from tests.benchmarks.figures import Figure, abba, command, ratio
from tests.integration.users_project import Project

_COMMANDS = {
    "manage.py test": ("manage.py", "test"),
    "pytest": ("-m", "pytest", "-q"),
}
_BROKERS = {"eager": {"EAGER": "1"}, "memory://": {"BROKER_URL": "memory://"}, "Redis": {}}


def measure(rounds: int) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as directory, RedisServer() as server:
        project = Project(Path(directory), server.url)
        del project.env["DYNO"]
        for name, arguments in _COMMANDS.items():
            for broker, env in _BROKERS.items():
                yield _ratio(f"{name}, {broker}", rounds, project, arguments, env)
        static = ("manage.py", "collectstatic", "--noinput")
        yield _ratio("manage.py collectstatic", rounds, project, static, {})


def _ratio(
    name: str, rounds: int, project: Project, arguments: tuple[str, ...], env: dict[str, str]
) -> Figure:
    def timed(**more: str) -> Callable[[], float]:
        def run() -> float:
            began = time.perf_counter()
            done = project.run(*arguments, **env, **more)
            assert done.returncode == 0, done.stderr
            return time.perf_counter() - began

        return run

    ours, plain = abba(rounds, timed(), timed(WITHOUT="1"))
    return ratio(name, ours, plain, limit="<= 1.05")


if __name__ == "__main__":
    command(__doc__, measure, rounds=7)
