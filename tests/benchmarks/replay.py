"""The same mixed tasks at the same times on a worker with the package and on one without.

The tasks are bursts of short ones, long ones, scheduled ones, retried ones, ones with a rate limit,
and ones that are acknowledged late, on two queues (on one if it is a quorum queue), on every broker
and execution pool. Compared are how often each ran, which were redelivered, and how many later
tasks of its queue overtook a task.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.benchmarks.figures import Figure, command
from tests.integration.apps.journal import Journal, Run
from tests.integration.scenes import CONSUMES_QUORUM_QUEUES, Scene, scene
from tests.integration.stage import ALONE
from tests.rabbitmq_server import RabbitServer, find_rabbitmq_server

POOLS = {"prefork": 3, "threads": 4, "gevent": 4, "eventlet": 4, "solo": 1}
#: The fraction of the slots' time that is spent on tasks.
_LOAD = 0.6
_REPLAY = """
import time
began = time.monotonic()
for key, (at, task, args, options) in enumerate(json.load(open({plan!r}))):
    time.sleep(max(began + at - time.monotonic(), 0.0))
    globals()[task].apply_async(args, task_id=str(key), **options)
result = True
"""


@dataclass(frozen=True)
class Task:
    """A task to publish, *at* seconds after the start. Its key is its place in the plan."""

    at: float
    name: str
    args: tuple[float, ...]
    queue: str
    countdown: float | None = None
    #: It begins when it may, rather than in its turn.
    in_turn: bool = True

    @property
    def runs(self) -> int:
        """How often it should run."""
        return 2 if len(self.args) > 1 else 1


def plan(seed: int, seconds: float, slots: int, queues: list[str]) -> list[Task]:
    """Plan the tasks, with as much work as *slots* have time for."""
    dice = random.Random(seed)
    tasks: list[Task] = []
    at, work = 0.0, 0.0
    while at < seconds:
        queue = dice.choice(queues)
        kind = dice.choices(
            ("burst", "short", "long", "late", "later", "retried", "rare"), (2, 8, 4, 4, 3, 1, 1)
        )[0]
        long = dice.uniform(1.0, 8.0)
        if kind == "burst":
            tasks += [Task(at, "note", (0.0,), queue) for _ in range(dice.randint(20, 100))]
        elif kind == "short":
            tasks.append(Task(at, "note", (dice.uniform(0.0, 0.3),), queue))
        elif kind in {"long", "late"}:
            work += long
            tasks.append(Task(at, "note" if kind == "long" else "note_late", (long,), queue))
        elif kind == "later":
            seconds_later = dice.uniform(1.0, 20.0)
            tasks.append(Task(at, "note", (0.1,), queue, seconds_later, in_turn=False))
        elif kind == "retried":
            tasks.append(Task(at, "note", (0.05, 1.0), queue, in_turn=False))
        else:
            tasks.append(Task(at, "note_rarely", (0.0,), queue, in_turn=False))
        at = max(at + dice.expovariate(2.0), work / (slots * _LOAD))
    return tasks


def measure(seconds: int, seed: int) -> Iterator[Figure]:
    with ExitStack() as stack:
        brokers: dict[str, str | None] = {"Redis": None}
        if find_rabbitmq_server() is not None:
            url = stack.enter_context(RabbitServer()).url
            brokers["RabbitMQ"] = url
            if CONSUMES_QUORUM_QUEUES:
                brokers["RabbitMQ's quorum queue"] = url
        with ThreadPoolExecutor(len(POOLS)) as threads:
            for broker, url in brokers.items():
                replayed = partial(_replayed, broker, url, seconds, seed)
                for figures in threads.map(replayed, POOLS):
                    yield from figures


def _replayed(broker: str, url: str | None, seconds: int, seed: int, pool: str) -> list[Figure]:
    slots, quorum = POOLS[pool], "quorum" in broker
    queues = ["quorum"] if quorum else ["first", "second"]
    tasks = plan(seed, seconds, slots, [f"{pool}-{queue}" for queue in queues])
    with ThreadPoolExecutor(2) as both:
        runs = both.map(
            lambda plain: _run(tasks, url, pool, plain=plain, quorum=quorum), (False, True)
        )
        ours, plain = runs
    late, plain_late = _places_late(tasks, ours), _places_late(tasks, plain)
    wrong, plain_wrong = _wrong(tasks, ours), _wrong(tasks, plain)
    back = _redelivered(ours) - _redelivered(plain)
    return [
        Figure(f"{broker}, {pool}: tasks", len(tasks)),
        Figure(f"run too often or not at all (plain: {plain_wrong})", wrong, limit="== 0"),
        Figure("redelivered, but not to plain Celery", len(back), limit="== 0"),
        Figure(f"places late (plain: {plain_late})", late, limit=f"<= {plain_late + slots}"),
    ]


def _run(tasks: list[Task], url: str | None, pool: str, *, plain: bool, quorum: bool) -> list[Run]:
    """The runs in the order of their beginnings, once all due tasks have run."""
    with tempfile.TemporaryDirectory(prefix="replay-") as name:
        directory = Path(name)
        told = [
            (t.at, t.name, t.args, {"queue": _of(t.queue, plain), "countdown": t.countdown})
            for t in tasks
        ]
        (directory / "plan").write_text(json.dumps(told))
        queues = sorted({_of(task.queue, plain) for task in tasks})
        env = {"PREFETCH": "4", "TASK_QUEUE": queues[0]}
        env |= {"MM_OFF": "1"} if plain else {}
        env |= {"QUORUM": "1"} if quorum else {}
        with scene(directory, broker_url=url, env=env, **ALONE) as it:
            slots = ("-P", pool, "-c", str(POOLS[pool]))
            with it.on.worker(*slots, "-Q", ",".join(queues), DYNO="worker.1"):
                _replay(it, directory / "plan")
                _wait_for_the_end(it.journal, sum(task.runs for task in tasks))
            return it.journal.runs()


def _of(queue: str, plain: bool) -> str:
    return f"{queue}-plain" if plain else queue


def _replay(it: Scene, told: Path) -> None:
    it.program().say(_REPLAY.format(plan=str(told)))


def _wait_for_the_end(journal: Journal, runs: int) -> None:
    """Wait until enough have ended and some time has passed, or none has ended for a minute."""
    before, since = -1, time.monotonic()
    while time.monotonic() - since < (5.0 if before >= runs else 60.0):
        ended = sum(run.end is not None for run in journal.runs())
        if ended != before:
            before, since = ended, time.monotonic()
        time.sleep(1.0)


def _wrong(tasks: list[Task], runs: list[Run]) -> int:
    """The number of tasks that have not run as often as they should."""
    times = Counter(run.task for run in runs if run.end is not None)
    return sum(times[str(key)] != task.runs for key, task in enumerate(tasks))


def _redelivered(runs: list[Run]) -> set[str]:
    return {run.task for run in runs if run.redelivered}


def _places_late(tasks: list[Task], runs: list[Run]) -> int:
    """The most tasks of the same queue that overtook a task although published later."""
    most = 0
    for queue in {task.queue for task in tasks}:
        order = [
            int(run.task)
            for run in runs
            if tasks[int(run.task)].queue == queue and tasks[int(run.task)].in_turn
        ]
        for place, key in enumerate(order):
            most = max(most, sum(other > key for other in order[:place]))
    return most


if __name__ == "__main__":
    command(__doc__, measure, seconds=480, seed=1)
