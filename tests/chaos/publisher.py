"""A process that publishes the load that the file ``load`` names, while the file exists.

With ``MM_OFF`` in its environment it is a plain Celery publisher, for comparison, and publishes to
a queue that no worker consumes.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from . import app as apps
from .app import LAPTOP, PLAIN, SEVERAL, app, directory, early, journal, late

LOAD = directory / "load"
PROBE = directory / "probe"
QUEUES = os.environ["CHAOS_QUEUES"].split()
#: A worker holds a scheduled task until it is due, and the broker gives it to another worker after
#: the visibility timeout, which must be longer.
LONGEST_ETA = 40.0
LONGEST_TASK = 18.0
#: This fraction of the tasks is acknowledged when it begins.
EARLY = 0.3
#: With several apps, this fraction is published by the twin, and this fraction spawns others.
BY_TWIN = 0.3
SPAWNING = 0.1


class Publisher:
    """Publishes one kind of work after another, chosen at random."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)
        self._recent: list[str] = []

    def run(self) -> None:
        load = None
        while True:
            before, load = load, _load()
            if before is None or bool(before) is not bool(load):
                journal.write("busy" if load else "idle", pid=os.getpid())
            if load:
                self._some_work(load)
                time.sleep(self._random.uniform(0.05, 0.6))
            else:
                # For tasks that a laptop publishes, others hire only when they next look.
                if not (PLAIN or LAPTOP):
                    self._probe()
                time.sleep(0.05)

    def _some_work(self, load: str) -> None:
        works: list[tuple[int, Callable[[], None]]] = [(10, self._burst), (2, self._trickle)]
        if load == "sparse":
            works = [(1, self._sparse)]
        if load == "mixed":
            works += [(2, self._long), (2, self._retried), (2, self._scheduled), (2, self._revoked)]
        weights, calls = zip(*works, strict=True)
        self._random.choices(calls, weights)[0]()

    def _burst(self) -> None:
        for _ in range(self._random.randint(10, 40)):
            self._publish("burst", self._random.uniform(0.0, 0.25))

    def _trickle(self) -> None:
        for _ in range(self._random.randint(3, 8)):
            self._publish("trickle", self._random.uniform(0.0, 1.5))
            time.sleep(self._random.uniform(0.05, 0.4))

    def _long(self) -> None:
        self._publish("long", self._random.uniform(3.0, LONGEST_TASK))

    def _sparse(self) -> None:
        """Publish so few tasks that one worker could do them, but so long that it stays busy."""
        self._long()
        over = time.monotonic() + self._random.uniform(3.0, 9.0)
        while time.monotonic() < over and _load():
            time.sleep(0.05)

    def _probe(self) -> None:
        """Have another app publish, if asked for; the first publisher to claim it does it."""
        claimed = PROBE.with_suffix(f".{os.getpid()}")
        try:
            PROBE.rename(claimed)
        except FileNotFoundError:
            return
        name, tasks = claimed.read_text().split()
        claimed.unlink()
        for _ in range(int(tasks)):
            if name == "twin":
                self._publish("probe", 0.5, task=apps.twin_late, queue=QUEUES[0], alone=True)
            else:
                apps.send_elsewhere(name)

    def _retried(self) -> None:
        for _ in range(self._random.randint(1, 4)):
            countdown = self._random.choice([0.0, 0.0, self._random.uniform(1.0, 12.0)])
            self._publish("retried", 0.1, retries=self._random.randint(1, 3), countdown=countdown)

    def _scheduled(self) -> None:
        for _ in range(self._random.randint(1, 6)):
            eta = self._random.choice([6.0, 12.0, LONGEST_ETA])
            self._publish("scheduled", 0.1, eta=self._random.uniform(1.5, eta))

    def _revoked(self) -> None:
        """Revoke tasks, which may wait, run, be scheduled, or be over."""
        for _ in range(self._random.randint(1, 3)):
            eta = self._random.choice([0.0, self._random.uniform(3.0, 20.0)])
            self._publish("revoked", self._random.uniform(0.5, 4.0), eta=eta)
            time.sleep(self._random.uniform(0.0, 1.0))
            if self._recent:
                self._revoke(self._recent[-1], terminate=self._random.random() < 0.5)

    def _revoke(self, task_id: str, terminate: bool) -> None:
        journal.write("revoked", id=task_id, terminate=terminate)
        if not PLAIN:
            self._guarded("revoke", lambda: app.control.revoke(task_id, terminate=terminate))

    def _publish(
        self,
        what: str,
        seconds: float,
        *,
        eta: float = 0.0,
        task: Any = None,
        queue: str = "",
        alone: bool = False,
        **options: Any,
    ) -> None:
        queue = queue or self._random.choice(QUEUES)
        if SEVERAL and not alone and self._random.random() < SPAWNING:
            options["spawns"] = self._random.choice(["second", "foreign"])
        sent: dict[str, Any] = {"kwargs": {"seconds": seconds, **options}, "queue": queue}
        if eta:
            sent["countdown"] = eta
        is_early = task is None and self._random.random() < EARLY
        if task is None and SEVERAL and self._random.random() < BY_TWIN:
            task = apps.twin_early if is_early else apps.twin_late
        elif task is None:
            task = early if is_early else late
        at, began = time.time(), time.perf_counter()
        result = self._guarded("publish", lambda: task.apply_async(**sent))
        took = time.perf_counter() - began
        if result is not None:
            self._recent = [*self._recent[-20:], result.id]
            journal.write(
                "published",
                at=at,
                took=took,
                id=result.id,
                what=what,
                queue=queue,
                seconds=seconds,
                eta=eta,
                early=is_early,
                plain=PLAIN,
                pid=os.getpid(),
            )

    def _guarded(self, what: str, call: Callable[[], Any]) -> Any:
        """Record what goes wrong; whose fault it was is decided later."""
        at = time.time()
        try:
            return call()
        except Exception as error:  # noqa: BLE001
            journal.write(
                "raised",
                at=at,
                until=time.time(),
                what=what,
                error=f"{type(error).__module__}.{type(error).__name__}: {error}",
                traceback=traceback.format_exc(),
                plain=PLAIN,
            )
            return None


def _load() -> str:
    """Return the sort of load that is wanted; empty for none."""
    with suppress(FileNotFoundError):
        return LOAD.read_text()
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", required=True)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Publisher(options.seed).run()


if __name__ == "__main__":
    main()
