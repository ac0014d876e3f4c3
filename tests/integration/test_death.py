"""A process that dies or sleeps at the worst moment is replaced, and does no harm."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from celery_middle_management.core.timing import LOCK_SECONDS
from tests.integration.scenes import PREFIX, Program, Scene, scene

#: A dead scaler is replaced within this time (s), and the time that a slow machine takes.
REPLACED = 15.0 + 15.0


@pytest.mark.slow
def test_a_scaler_killed_while_it_fires(tmp_path: Path) -> None:
    """The platform may still carry out its call: workers that it may stop take no tasks."""
    with scene(tmp_path) as it:
        one, other = it.program(), it.program()
        one.say("for _ in range(2): hold.delay()")
        it.wait_at_work("worker.1", "worker.2")
        it.emulator.fault("late_before", seconds=16.0, count=1, methods={"PATCH"})
        it.let_go("worker.1", "worker.2")
        it.wait(lambda: len(requests(it, "PATCH")) == 2)
        floor = json.loads(it.on.state()["worker/fire"])["to"]
        killed_at = time.monotonic()
        before = evaluated_at(it)
        killed = kill_scaler(it, one, other)
        publisher = other if killed == one.pid else one
        publisher.say("for _ in range(2): hold.delay()")

        it.wait(lambda: evaluated_at(it) > before, REPLACED)
        print(f"replaced {time.monotonic() - killed_at:.1f} s after the scaler was killed")
        it.wait(lambda: it.on.quantity == floor)
        for run in it.running:
            assert int(run.dyno.partition(".")[2]) <= floor, it.told()

        settle(it)
        it.wait_at_work("worker.1", "worker.2")
        it.let_go("worker.1", "worker.2")
        it.assert_no_worker_was_killed()


@pytest.mark.slow
def test_a_lock_whose_holder_is_dead_or_asleep(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with scene(tmp_path, command=None) as it:
        dying, sleeping, heir = it.program(), it.program(LOG=str(log)), it.program()
        it.emulator.fault("hang", count=1, methods={"GET"})
        dying.say("note.delay()")
        it.wait(lambda: requests(it, "GET"))
        killed_at = time.monotonic()
        os.kill(dying.pid, signal.SIGKILL)
        sleeping.say("note.delay()")
        it.wait(lambda: it.changes == [(0, 2)], REPLACED)
        print(f"replaced {time.monotonic() - killed_at:.1f} s after the scaler was killed")
        # After its call, the evaluation asks for the prices.
        it.wait(lambda: "/dyno-sizes" in requests(it, "GET"))

        it.emulator.fault("hang", count=1, methods={"GET"})
        before = len(requests(it, "GET"))
        sleeping.say("note.delay()")
        it.wait(lambda: len(requests(it, "GET")) > before)
        os.kill(sleeping.pid, signal.SIGSTOP)
        heir.say("note.delay(); note.delay()")
        it.wait(lambda: it.changes == [(0, 2), (2, 5)], REPLACED)
        it.wait(lambda: it.on.number("worker/quantity") == 5)
        state = it.on.state()
        os.kill(sleeping.pid, signal.SIGCONT)
        it.emulator.clear_faults()
        it.wait(lambda: "another one takes over" in log.read_text(), LOCK_SECONDS + 30.0)
        assert it.changes == [(0, 2), (2, 5)]
        written = ("worker/quantity", "worker/last_action", "blocked_until")
        assert [it.on.state().get(name) for name in written] == [state.get(n) for n in written]


def test_a_publisher_killed_before_it_could_tell(tmp_path: Path) -> None:
    with scene(tmp_path, command=None, settings={"count_interval": 2}) as it:
        it.program().say("note.delay()")
        it.wait_for_quantity(1)
        it.program().order("note.delay(); os.kill(os.getpid(), 9)")
        it.wait_for_quantity(2)
        assert it.on.number("worker/published") == 1


@pytest.mark.slow
def test_a_publisher_killed_before_it_could_tell_a_pool_at_rest(tmp_path: Path) -> None:
    """Found by the next count, which a publisher that has nothing to tell makes as well."""
    with scene(tmp_path, settings={"count_interval": 2}) as it:
        it.program().say("note.delay()")
        it.wait(lambda: it.emulator.stops)
        assert it.on.quantity == 0
        it.program().order("note.delay(); os.kill(os.getpid(), 9)")
        it.wait(lambda: len([run for run in it.journal.runs() if run.end]) == 2)
        assert it.on.number("worker/published") == 1


@pytest.mark.slow
def test_a_task_killed_with_its_process_is_not_waited_for(tmp_path: Path) -> None:
    with scene(tmp_path) as it:
        publisher = it.program()
        publisher.say("hold_early.delay()")
        it.wait_at_work("worker.1")
        os.kill(it.running[0].pid, signal.SIGKILL)
        it.wait(lambda: it.on.number("worker/finished") == 1)
        it.wait_for_quantity(0)


@pytest.mark.slow
def test_tasks_beside_a_fire_without_an_answer_are_not_stranded(tmp_path: Path) -> None:
    """Their publisher has ended when it takes the last worker: the next process learns of them."""
    with scene(tmp_path) as it:
        publisher = it.program()
        publisher.say("note.delay()")
        it.wait(lambda: [run for run in it.journal.runs() if run.end])
        it.emulator.fault("later_hang", seconds=1.0, count=1, methods={"PATCH"})
        it.wait(lambda: "worker/fire" in it.on.state())
        publisher.order("note.delay(); sys.exit()")
        it.wait(lambda: has_ended(publisher.pid) and it.emulator.stops)
        it.wait(lambda: not [d for d in it.emulator.dynos() if d.type == "worker"])
        assert len(it.journal.runs()) == 1

        # Its lock has run out, it can take effect no more, and a standby would have come.
        it.redis.delete(f"{PREFIX}:lock")
        settle(it)
        due = int(it.on.state()["next_at"])
        long_ago = due - 100_000
        it.redis.hset(f"{PREFIX}:state", mapping={"next_at": long_ago, "told_at": long_ago})
        assert "no process of the app is alive" in str(it.on.whole_status()["trouble"])
        it.program().say("noop.apply_async(queue='elsewhere')")
        it.wait(lambda: len([run for run in it.journal.runs() if run.end]) == 2)


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["gevent", "eventlet"])
def test_what_a_dead_worker_held_comes_back_to_an_idle_one(pool: str, tmp_path: Path) -> None:
    """Without us, kombu does it where it has an event loop only."""
    pytest.importorskip(pool)
    options = json.dumps({"visibility_timeout": 3})
    with scene(tmp_path, command=None, env={"TRANSPORT_OPTIONS": options}) as it:
        it.forbid_evaluations()
        it.program().say("late.delay(10)")
        with it.on.worker("--pool", pool, DYNO="worker.1") as dying:
            it.wait(lambda: it.presence("worker.1").get("busy"))
            dying.kill()
        # kombu's lock, for five minutes: it may have died while it gave back others'.
        it.redis.delete("unacked_mutex")
        with it.on.worker("--pool", pool, DYNO="worker.2"):
            it.wait(lambda: it.presence("worker.2").get("busy"))


def kill_scaler(it: Scene, *publishers: Program) -> int:
    """SIGKILL to the process that is calling the platform; returns its id once it has ended.

    Until then, its broker would hand a task to it.
    """
    candidates = [dyno.pid for dyno in it.emulator.dynos() if dyno.pid is not None]
    [scaler] = connected_to(
        urlsplit(it.emulator.url).port or 0, [*candidates, *(p.pid for p in publishers)]
    )
    os.kill(scaler, signal.SIGKILL)
    it.wait(lambda: has_ended(scaler))
    return scaler


def has_ended(process: int) -> bool:
    """Whether a process has closed all that it had open: all of its threads have ended."""
    try:
        threads = [thread.name for thread in Path(f"/proc/{process}/task").iterdir()]
        status = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return threads == [str(process)] and status[0] == "Z"


def connected_to(port: int, processes: Iterable[int]) -> list[int]:
    """Those of *processes* that have a connection to this port."""
    sockets = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, _, remote, state, *fields = line.split()
        if state == "01" and int(remote.partition(":")[2], 16) == port:
            sockets.add(f"socket:[{fields[5]}]")
    return [pid for pid in processes if sockets & set(open_files(pid))]


def open_files(pid: int) -> Iterable[str]:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            yield str(descriptor.readlink())
        except FileNotFoundError:
            continue


def requests(it: Scene, method: str) -> list[str]:
    return [request.path for request in it.emulator.requests if request.method == method]


def evaluated_at(it: Scene) -> int:
    return int(it.on.state().get("evaluated_at", 0))


def settle(it: Scene) -> None:
    """As if the time had passed in which the platform may still do what it was told."""
    fire = json.loads(it.on.state()["worker/fire"])
    if not fire["done"]:
        fire["until"] = 0.0
        sent = {"worker/fire": json.dumps(fire), "sent": json.dumps({"worker/fire": fire})}
        it.redis.hset(f"{PREFIX}:state", mapping=sent)
