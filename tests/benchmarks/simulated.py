"""The simulator against the real thing: what one trace costs, and how long its tasks wait.

The trace, bursts and a trickle, is published live at its times, and real workers run it on the
emulator's dynos. Then the simulator plays the same trace. What it assumes of the platform and the
workers is measured in the live run, as medians: how long a change took to take effect, a worker to
boot, and one that is drained to exit.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import groupby
from math import inf, isfinite
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from celery_middle_management.core.presence import Presence
from celery_middle_management.demo.redis_server import RedisServer
from celery_middle_management.ledger.codec import unpack_presences
from celery_middle_management.sim import Model, Outcome, RunTimes, Trace, policy_named, simulate
from celery_middle_management.sim.outcome import Waits, waits_of
from tests.benchmarks.figures import Figure, command, median
from tests.benchmarks.publisher import Publisher
from tests.integration.apps.journal import Journal, Run
from tests.integration.stage import Stage, stage

_WORKER = (
    *(sys.executable, "-m", "celery", "-A", "tests.benchmarks.app", "worker"),
    *("--concurrency", "1", "--prefetch-multiplier", "1", "--loglevel", "WARNING"),
    *("--hostname", "$DYNO@simulated"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
)
_WORKERS = 8
#: The time (s) that the emulator takes to carry out a change, and to start a dyno: like Heroku's,
#: most of it is no work of this machine.
_LATENCY, _BOOT = 0.3, 6.0
_CHANGES = "PATCH", "POST"
#: A worker that had a task to begin when it came up began it within this time (s).
_AT_ONCE = 1.0
#: All must have ended so long (s) after the last task was published.
_GIVES_UP = 300.0


class Shape(NamedTuple):
    """Bursts of which some are twice as large as others, and a trickle between them."""

    runtimes: RunTimes = RunTimes(6.0, 0.8)
    #: Each burst is of so many tasks on average, and one is published every so often (s): at once,
    #: for else it would be left to chance how many of its tasks the first evaluation sees.
    burst: int = 11
    apart: float = 120.0
    #: The mean time (s) between two tasks of the trickle.
    trickle: float = 24.0


def make_trace(shape: Shape, minutes: int, seed: int) -> Trace:
    """Draw tasks for so many *minutes*."""
    draw, end = random.Random(seed), minutes * 60.0
    times, at = [], 0.0
    while at < end:
        size = round(shape.burst * draw.uniform(2 / 3, 4 / 3))
        times += [at] * size
        at += shape.apart
    at = draw.expovariate(1 / shape.trickle)
    while at < end:
        times.append(at)
        at += draw.expovariate(1 / shape.trickle)
    runtimes = shape.runtimes.draw(len(times), draw)
    return Trace("bursts and a trickle", array("d", sorted(times)), runtimes)


@dataclass
class Life:
    """A dyno's life, as readings of ``monotonic()``; `inf` is never."""

    name: str
    hired: float
    #: Its worker's first report, and the begin of its first task.
    reported: float = inf
    begun: float = inf
    #: Its worker reported first that it takes no more tasks, so long (s) after it was cordoned.
    stopped: float = inf
    obeyed: float = inf
    #: It was told to end: by SIGTERM, or by the reply to its report that it has no task left.
    ended: float = inf
    gone: float = inf
    killed: bool = False

    @property
    def boot(self) -> float:
        """The time (s) until it took tasks, if there were any, or until it reported."""
        at_once = self.begun - self.reported < _AT_ONCE
        return (self.begun if at_once else self.reported) - self.hired


@dataclass
class Live:
    """What came of the trace. Times are readings of ``monotonic()``."""

    #: When each task was published.
    published: list[float]
    lives: list[Life]
    waits: Waits
    #: Runs that were cut short, or that came on top of the one that each task needs.
    killed: int
    #: The median time (s) until a change at the platform was carried out.
    latency: float

    @property
    def paid(self) -> float:
        return sum(life.gone - life.hired for life in self.lives)

    def times(self, of: Callable[[Life], float]) -> list[float]:
        """A time (s) of all lives that have it."""
        return [seconds for life in self.lives if isfinite(seconds := of(life))]


class Watch:
    """Looks twenty times a second at the dynos, and at what their workers report."""

    def __init__(self, on: Stage) -> None:
        self.lives: dict[str, Life] = {}
        self._on = on
        self._ahead = time.time() - time.monotonic()
        self._of: dict[str, Life] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()

    def until_over(self, directory: Path, tasks: int) -> None:
        """Wait until so many tasks have ended, and every dyno has gone."""
        give_up = time.monotonic() + _GIVES_UP
        while len(_ended(directory)) < tasks or any(
            life.gone == inf for life in [*self.lives.values()]
        ):
            if time.monotonic() > give_up:
                raise TimeoutError(f"not over; ledger: {self._on.state()}")
            time.sleep(0.1)

    def _run(self) -> None:
        while not self._closing.wait(0.05):
            dynos = {d.id: d for d in self._on.emulator.dynos() if d.type != "web"}
            now = time.monotonic()
            for id, dyno in dynos.items():
                if id not in self.lives:
                    self.lives[id] = Life(dyno.name, dyno.created_at.timestamp() - self._ahead)
            for id, life in self.lives.items():
                if id not in dynos and life.gone == inf:
                    life.gone = now
            told: dict[str, str] = self._on.redis.hgetall(  # type: ignore[assignment]
                "{middle-management:myapp}:workers"
            )
            for presence in unpack_presences(told):
                self._note(presence)
        for stop in self._on.emulator.stops:
            if stop.id in self.lives:
                life = self.lives[stop.id]
                life.ended, life.gone, life.killed = stop.asked_at, stop.at, stop.sigkilled

    def _note(self, presence: Presence) -> None:
        at = presence.seen - self._ahead
        if presence.id not in self._of:
            namesakes = [life for life in self.lives.values() if life.name == presence.name]
            if not namesakes:
                return
            self._of[presence.id] = namesakes[-1]
        life = self._of[presence.id]
        life.reported = min(life.reported, at)
        if not presence.stopped:  # or it was let take tasks again
            life.stopped = life.ended = inf
            return
        cordoned = presence.stopped - self._ahead
        if life.stopped == inf:
            life.stopped = at
            # One that comes up while it is cordoned has nothing to stop.
            life.obeyed = at - cordoned if cordoned > life.reported else inf
        if presence.hire and not presence.busy:
            life.ended = min(life.ended, at)


def live(kind: str, trace: Trace, policy: Mapping[str, float]) -> Live:
    """Publish the trace at its times, and see what comes of it.

    *policy* are settings of the pool.
    """
    with ExitStack() as stack:
        enter = stack.enter_context
        directory = Path(enter(tempfile.TemporaryDirectory(prefix="simulated-")))
        ledger = enter(RedisServer())
        pools = {"worker": {"max_workers": _WORKERS, **policy}}
        settings = {"dynos": kind, "pools": pools}
        on = enter(stage(ledger.url, command=_WORKER, settings=settings, boot_delay=_BOOT))
        on.emulator.fault("late_before", seconds=_LATENCY, methods=_CHANGES)
        on.env["JOURNAL"] = str(directory)
        publisher = enter(Publisher(on.env))
        publisher.publish(0)
        with Watch(on) as watch:
            # What a process evaluates first takes it longer.
            publisher.publish(1, "noted", 0.1)
            watch.until_over(directory, 1)
            began = time.monotonic()
            published = [*_publish(trace, publisher, began)]
            watch.until_over(directory, 1 + trace.tasks)
        return _seen(on, began, published, watch, Journal(directory))


def _publish(trace: Trace, publisher: Publisher, began: float) -> Iterator[float]:
    """Publish each task at its time, and yield when that was."""
    tasks = zip(trace.published, trace.runtimes, strict=True)
    for at, burst in groupby(tasks, key=itemgetter(0)):
        time.sleep(max(began + at - time.monotonic(), 0.0))
        runtimes = [seconds for _, seconds in burst]
        for seconds in runtimes:
            publisher.begin(1, "noted", seconds)
        for _ in runtimes:
            yield publisher.published().began


def _seen(on: Stage, began: float, published: list[float], watch: Watch, journal: Journal) -> Live:
    lives = [life for life in watch.lives.values() if life.hired > began]
    runs = [run for run in journal.runs() if run.begin > began]
    for life in lives:
        own = [r.begin for r in runs if r.dyno == life.name and life.hired < r.begin < life.gone]
        life.begun = min(own, default=inf)
    # A queue is worked off in order.
    starts = sorted(run.begin for run in runs)[: len(published)]
    waits = waits_of(array("d", (at - due for at, due in zip(starts, published, strict=True))))
    killed = len(runs) - len(published) + sum(life.killed for life in lives)
    changes = [r for r in on.emulator.requests if r.method in _CHANGES and r.done_at]
    latency = statistics.median((r.done_at or 0.0) - r.at_wall for r in changes)
    return Live(published, lives, waits, killed, latency)


def _ended(directory: Path) -> list[Run]:
    return [run for run in Journal(directory).runs() if run.end is not None]


def simulated(trace: Trace, jobs: int, real: Live, model: Model) -> Outcome:
    """Play the trace as it was really published."""
    published = array("d", (at - real.published[0] for at in real.published))
    as_it_was = replace(trace, published=published)
    return simulate(as_it_was, policy_named(f"jobs_per_worker:{jobs}"), model)


def model_of(kind: str, real: Live) -> Model:
    """The model of a live run."""
    return Model(
        maximum=_WORKERS,
        boot=statistics.median(real.times(lambda life: life.boot)),
        latency=real.latency,
        shutdown=statistics.median(real.times(lambda life: life.gone - life.ended)),
        one_off=kind == "one-off",
    )


_STEPS: dict[str, Callable[[Life], float]] = {
    "boot": lambda life: life.boot,
    "from cordon to taking no more": lambda life: life.obeyed,
    "shutdown": lambda life: life.gone - life.ended,
}


def measure(minutes: int, jobs: int, seed: int) -> Iterator[Figure]:
    trace = make_trace(Shape(), minutes, seed)
    yield Figure("tasks", trace.tasks)
    yield Figure("work", trace.work, "s")
    for kind in ("formation", "one-off"):
        real = live(kind, trace, {"jobs_per_worker": jobs})
        model = model_of(kind, real)
        yield Figure(f"{kind}: a change takes effect after", model.latency, "s")
        for name, of in _STEPS.items():
            yield median(f"{kind}: {name}", real.times(of), "s")
        yield from _compare(kind, real, simulated(trace, jobs, real, model))


def _compare(kind: str, real: Live, played: Outcome) -> Iterator[Figure]:
    yield Figure(f"{kind}: paid, live", real.paid, "worker-seconds")
    yield Figure(f"{kind}: paid, simulated", played.paid, "worker-seconds")
    share = played.paid / real.paid
    yield Figure(f"{kind}: paid, simulated / live", share, "x", limit="<= 1.1")
    yield Figure(f"{kind}: the same, from below", share, "x", limit=">= 0.9")
    for name in ("mean", "p95"):
        lived, said = getattr(real.waits, name), getattr(played.waits, name)
        yield Figure(f"{kind}: {name} wait, live", lived, "s")
        yield Figure(f"{kind}: {name} wait, simulated", said, "s")
        limit = "<= 2" if name == "p95" else ""
        yield Figure(f"{kind}: {name} wait, difference", abs(said - lived), "s", limit=limit)
    yield Figure(f"{kind}: hires, live", len(real.lives))
    yield Figure(f"{kind}: hires, simulated", played.hires)
    yield Figure(f"{kind}: killed, live", real.killed, limit="== 0")
    yield Figure(f"{kind}: killed, simulated", played.killed, limit="== 0")


if __name__ == "__main__":
    command(__doc__, measure, minutes=10, jobs=2, seed=1)
