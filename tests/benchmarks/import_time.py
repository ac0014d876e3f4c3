"""How much longer Celery takes to import where this package is imported, too.

Each time in a process of its own, after Celery and what its Redis transport needs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

from tests.benchmarks.figures import Figure, command, median
from tests.servers import ROOT

_IMPORT = """
import time
import celery.app.base, celery.signals, kombu.transport.redis
from celery import Celery
app = Celery("it", broker="redis://")
app.conf.update({settings})
app.conf.broker_url
began = time.perf_counter()
import celery_middle_management
app.finalize()
print((time.perf_counter() - began) * 1000)
"""
_LOCAL = {
    "middle_management_enabled": True,
    "middle_management_platform": "local",
    "middle_management_max_workers": 2,
}
_HEROKU = {
    "middle_management_enabled": True,
    "middle_management_heroku_app": "myapp",
    "middle_management_heroku_api_key": "none",
    "middle_management_off_platform": True,
    "middle_management_max_workers": 2,
}


def measure(rounds: int) -> Iterator[Figure]:
    cases = {"not enabled": {}, "set up, local": _LOCAL, "set up, on Heroku": _HEROKU}
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, settings in cases.items():
            times[name].append(_run(settings))
    yield median("import, not enabled", times["not enabled"], "ms", limit="<= 60")
    yield median("import and set-up, local", times["set up, local"], "ms", limit="<= 60")
    yield median("import and set-up, on Heroku", times["set up, on Heroku"], "ms")


def _run(settings: dict[str, object]) -> float:
    env = {name: value for name, value in os.environ.items() if name != "DYNO"}
    code = _IMPORT.format(settings=settings)
    run = [sys.executable, "-c", code]
    told = subprocess.run(run, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    return float(told.stdout)


if __name__ == "__main__":
    command(__doc__, measure, rounds=15)
