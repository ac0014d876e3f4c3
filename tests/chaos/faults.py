"""The monkey: does at random what goes wrong in production, and writes down what it did."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis

from .processes import children, kill
from .stage import MAXIMA, Stage

#: The platform ends a request after 30 s.
LATEST = 20.0
#: Seconds from the end of one act to the next: shorter, and nobody would ever be hired.
BETWEEN_ACTS = (1.5, 6.0)


class Monkey:
    """One thread; :meth:`release` starts it and :meth:`cage` stops it and heals what is broken."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._random = random.Random(f"monkey-{stage.seed}")
        self._journal = stage.journal
        self._caged = threading.Event()
        self._thread: threading.Thread | None = None
        self._acts: list[tuple[int, Callable[[], None]]] = [
            (4, self._kill_child),
            (3, self._kill_worker),
            (2, self._kill_publisher),
            (2, self._kill_scaler),
            (7, self._break_api),
            (3, self._scale_by_hand),
            (2, self._deploy),
            (1, self._purge),
            (2, self._pause_broker),
            (1, self._restart_broker),
        ]
        if not stage.shared:
            self._acts += [
                (2, self._pause_ledger),
                (2, self._restart_ledger),
                (2, self._flush_ledger),
                (2, self._kill_ledger),
            ]

    def release(self) -> None:
        self._caged.clear()
        self._thread = threading.Thread(target=self._rampage, name="monkey", daemon=True)
        self._thread.start()

    def cage(self) -> None:
        self._caged.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._stage.emulator.clear_faults()
        for publisher in self._stage.publishers:
            publisher.ensure()

    def _rampage(self) -> None:
        weights, acts = zip(*self._acts, strict=True)
        while not self._caged.wait(self._random.uniform(*BETWEEN_ACTS)):
            act = self._random.choices(acts, weights)[0]
            try:
                act()
            except Exception as error:  # noqa: BLE001 - a broken suite must not pass for a green one
                self._journal.write("broken", act=act.__name__, error=repr(error))

    @contextmanager
    def _fault(self, what: str, **facts: Any) -> Iterator[None]:
        at = time.time()
        try:
            yield
        finally:
            self._journal.write("fault", at=at, until=time.time(), what=what, **facts)

    def _pause(self, shortest: float, longest: float) -> None:
        self._caged.wait(self._random.uniform(shortest, longest))

    # -- processes

    def _some_worker(self) -> int | None:
        pids = sorted(self._stage.worker_pids())
        return self._random.choice(pids) if pids else None

    def _killed(self, what: str, pid: int, sid: int | None = None, **facts: Any) -> None:
        # Written before it is done, so that nothing that follows from it comes earlier.
        self._journal.write("killed", what=what, pid=pid, sid=sid, **facts)
        kill(pid)

    def _kill_child(self) -> None:
        worker = self._some_worker()
        pool = children(worker) if worker is not None else []
        if pool:
            self._killed("child", self._random.choice(pool), worker)

    def _kill_worker(self) -> None:
        worker = self._some_worker()
        if worker is not None:
            self._killed("worker", worker, worker)

    def _kill_publisher(self) -> None:
        publisher = self._random.choice(self._stage.publishers)
        self._killed("publisher", publisher.pid)
        publisher.process.wait(10)
        publisher.ensure()

    def _kill_scaler(self) -> None:
        """Wait for one that holds the lock, kill it, and wait for its successor."""
        stage = self._stage
        with self._fault("api", sort="late_before", seconds=4.0):
            stage.emulator.fault("late_before", seconds=4.0, lasting=10.0)
            held = _await(stage.lock, 10.0, 0.002, self._caged)
            if held:
                pid = held[1]
                worker = pid if pid in stage.worker_pids() else None
                at = time.time()
                self._killed("scaler", pid, worker)
            stage.emulator.clear_faults()
        if not held:
            return
        for publisher in stage.publishers:
            if publisher.pid == held[1]:
                publisher.process.wait(10)
            publisher.ensure()
        # The lock was still held when the scaler died, or there was nobody to replace.
        with contextlib.suppress(redis.RedisError):
            if stage.ledger_client.get(stage.key("lock")) != held[0]:
                return
        _await(lambda: stage.evaluated_at() > at, 25.0, 0.05)
        replaced = stage.evaluated_at()
        self._journal.write("replaced", killed_at=at, took=replaced - at if replaced > at else None)

    # -- the platform

    def _break_api(self) -> None:
        lasting = self._random.uniform(1.0, 6.0)
        seconds = self._random.choice([2.0, 8.0, LATEST])
        status, retry_after = self._random.choice([(429, None), (429, 3), (429, 6), (500, None)])
        sort: Any = self._random.choice(
            [*["status"] * 3, "garbage", "hang", "drop", "drop_after", "late_before", "late_after"]
        )
        methods = self._random.choice([None, None, ("PATCH",), ("GET",)])
        self._stage.emulator.fault(
            sort,
            status=status,
            seconds=seconds,
            retry_after=retry_after,
            methods=methods,
            lasting=lasting,
        )
        at = time.time()
        late = seconds if sort.startswith("late") else 0.0
        self._journal.write(
            "fault", at=at, until=at + lasting + late, what="api", sort=sort, status=status,
            retry_after=retry_after, seconds=seconds, methods=methods,
        )  # fmt: skip

    def _scale_by_hand(self) -> None:
        pool = self._random.choice(self._stage.pools)
        quantity = self._random.choice([self._stage.minimum, *range(1, MAXIMA[pool] + 3)])
        with self._fault("hand", pool=pool, quantity=quantity):
            self._stage.emulator.scale_by_hand(pool, quantity)

    def _deploy(self) -> None:
        with self._fault("deploy"):
            self._stage.emulator.restart_all()

    # -- the broker

    def _purge(self) -> None:
        self._journal.write("purged", ids=self._stage.broker.purge())

    def _pause_broker(self) -> None:
        with self._fault("broker", sort="pause"):
            self._stage.broker.server.pause()
            try:
                self._pause(0.3, 3.0)
            finally:
                self._stage.broker.server.resume()

    def _restart_broker(self) -> None:
        with self._fault("broker", sort="restart"):
            self._stage.broker.server.restart()

    # -- the ledger

    def _pause_ledger(self) -> None:
        with self._fault("ledger", sort="pause"):
            self._stage.ledger.pause()
            try:
                self._pause(1.0, 10.0)
            finally:
                self._stage.ledger.resume()

    def _restart_ledger(self) -> None:
        with self._fault("ledger", sort="restart"):
            self._stage.ledger.restart()

    def _flush_ledger(self) -> None:
        with self._fault("ledger", sort="flush"):
            self._stage.ledger_client.flushall()

    def _kill_ledger(self) -> None:
        with self._fault("ledger", sort="kill"):
            self._stage.ledger.kill()
            try:
                self._pause(0.5, 8.0)
            finally:
                self._stage.ledger.restart()


def _await(
    look: Callable[[], Any], timeout: float, every: float, unless: threading.Event | None = None
) -> Any:
    """What *look* finds at last, or None after *timeout* seconds."""
    give_up = time.monotonic() + timeout
    while time.monotonic() < give_up and not (unless and unless.is_set()):
        if found := look():
            return found
        time.sleep(every)
    return None
