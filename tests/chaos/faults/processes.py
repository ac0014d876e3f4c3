"""Processes that are killed: children of pools, workers, publishers, scalers."""

from __future__ import annotations

import contextlib
import time

import redis

from tests.chaos.processes import children

from .act import Act, Hands, await_


def kill_child(hands: Hands) -> None:
    worker = hands.some_worker()
    pool = children(worker) if worker is not None else []
    if pool:
        hands.kill("child", hands.random.choice(pool), worker)


def kill_worker(hands: Hands) -> None:
    worker = hands.some_worker()
    if worker is not None:
        hands.kill("worker", worker, worker)


def kill_publisher(hands: Hands) -> None:
    publisher = hands.random.choice(hands.stage.publishers)
    hands.kill("publisher", publisher.pid)
    publisher.process.wait(10)
    publisher.ensure()


def kill_scaler(hands: Hands) -> None:
    """Wait for a process that holds the lock, kill it, and wait for its successor."""
    stage = hands.stage
    with hands.fault("api", sort="late_before", seconds=4.0):
        stage.emulator.fault("late_before", seconds=4.0, lasting=10.0)
        held = await_(stage.lock, 10.0, 0.002, hands.caged)
        if held:
            pid = held[1]
            worker = pid if pid in stage.worker_pids() else None
            at = time.time()
            hands.kill("scaler", pid, worker)
        stage.emulator.clear_faults()
    if not held:
        return
    before = stage.evaluated_at()
    for process in (*stage.publishers, *stage.people):
        if process.pid == held[1]:
            process.process.wait(10)
        process.ensure()
    # The lock was still held when the scaler died; otherwise there was none to replace.
    with contextlib.suppress(redis.RedisError):
        if stage.ledger_client.get(stage.key("lock")) != held[0]:
            return
    # Not "after it was killed": the last one may date from before the clock was stepped back.
    await_(lambda: stage.evaluated_at() != before, 25.0, 0.05)
    replaced = stage.evaluated_at()
    hands.write("replaced", killed_at=at, took=replaced - at if replaced != before else None)


def crash_workers(hands: Hands) -> None:
    """Make every starting worker fail to import the app, for a while."""
    crash = hands.stage.crash
    if crash.exists():
        return
    crash.touch()
    hands.lasting(hands.random.uniform(5.0, 25.0), crash.unlink, "crash")


ACTS = (
    Act(4, "kill", kill_child),
    Act(3, "kill", kill_worker),
    Act(2, "kill", kill_publisher),
    Act(2, "kill", kill_scaler),
    Act(2, "crash", crash_workers),
)
