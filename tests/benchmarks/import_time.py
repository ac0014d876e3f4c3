"""How much more time and memory Celery takes to import where this package is imported, too.

Each figure is of a process of its own, after Celery and what its Redis transport needs. The memory
is the growth of the resident set, as Linux counts it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

from tests.benchmarks.figures import Figure, command, median
from tests.servers import ROOT

_IMPORT = """
import os, time
import celery.app.base, celery.signals, kombu.transport.redis
from celery import Celery
app = Celery("it", broker="redis://")
app.conf.update({settings})
app.conf.broker_url
def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
memory, began = resident(), time.perf_counter()
import celery_middle_management
app.finalize()
print((time.perf_counter() - began) * 1e3, (resident() - memory) / 1e6)
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
_CASES: dict[str, tuple[dict[str, object], str]] = {
    "import, not enabled": ({}, "<= 60"),
    "import and set-up, local": (_LOCAL, "<= 60"),
    "import and set-up, on Heroku": (_HEROKU, "<= 100"),
}


def measure(rounds: int) -> Iterator[Figure]:
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in _CASES}
    for _ in range(rounds):
        for name, (settings, _limit) in _CASES.items():
            runs[name].append(_run(settings))
    for name, (_settings, limit) in _CASES.items():
        times, sizes = zip(*runs[name], strict=True)
        yield median(name, times, "ms", limit=limit)
        yield median(f"{name}: memory", sizes, "MB", limit="<= 5")


def _run(settings: dict[str, object]) -> tuple[float, float]:
    """Return the time (ms) and the memory (MB)."""
    env = {name: value for name, value in os.environ.items() if name != "DYNO"}
    code = _IMPORT.format(settings=settings)
    run = [sys.executable, "-c", code]
    told = subprocess.run(run, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    time, memory = map(float, told.stdout.split())
    return time, memory


if __name__ == "__main__":
    command(__doc__, measure, rounds=15)
