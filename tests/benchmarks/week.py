"""A week in the life of an app with ten pools, written into a Redis as real processes would.

``python -m tests.benchmarks.week`` starts a Redis with such a week and keeps its workers reporting,
until Ctrl-C, for ``celery -A tests.benchmarks.week_app mm status`` and the page.
"""

from __future__ import annotations

import json
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from celery_middle_management.core.bill import day_of
from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.demand import Count, Held
from celery_middle_management.core.iso_time import iso
from celery_middle_management.core.policies.backlog import backlog
from celery_middle_management.core.presence import Presence, Run
from celery_middle_management.core.trouble import Trouble
from celery_middle_management.ledger.codec import (
    pack_cordon,
    pack_count,
    pack_presence,
    pack_troubles,
)
from celery_middle_management.ledger.memory_samples import take_sample
from celery_middle_management.ledger.memory_store import Store
from celery_middle_management.ledger.model import EXPIRY, HISTORY, millis
from celery_middle_management.ledger.redis import RedisLedger
from celery_middle_management.ledger.sampling import sampling_of
from celery_middle_management.settings.model import Settings

SECONDS = 7 * 86400
STEP = 10
#: Whenever a week is made, its last day is like a Thursday (1 January 1970) until this time (s).
ENDS_LIKE = 14 * 3600
#: Tasks that one worker runs at the same time.
SLOTS = 4
#: A worker that is not needed is fired after this time (s).
CALM = 120
OUTAGE = "the platform could not be asked how many workers run: no answer within 5 s"


class Load(NamedTuple):
    """What a pool has to do: its limits, and its tasks."""

    least: int
    most: int
    per_worker: int
    #: Tasks a minute at noon, and at night.
    day: float
    night: float
    #: How long (s) one runs.
    runs: float
    #: Bursts a day, and tasks in each.
    bursts: float = 0.0
    burst: int = 0
    #: Tasks that are scheduled every evening for eight o'clock of the next morning.
    morning: int = 0


LOADS = {
    "worker": Load(1, 10, 20, 220, 25, 3.0, 3, 400),
    "mail": Load(0, 4, 200, 90, 2, 0.6, morning=900),
    "webhooks": Load(1, 6, 50, 400, 60, 0.5, 6, 700),
    "pdf": Load(0, 8, 4, 5, 0, 40.0, 4, 30),
    "video": Load(0, 12, 2, 0.5, 0.05, 600.0, 2, 20),
    "search": Load(0, 3, 100, 60, 6, 1.0, 1, 500),
    "imports": Load(0, 5, 10, 0.02, 0.02, 90.0, 1, 60),
    "exports": Load(0, 5, 5, 0.6, 0.02, 120.0),
    "thumbnails": Load(0, 6, 60, 120, 10, 1.5, 4, 600),
    "billing": Load(0, 2, 30, 0.1, 0.0, 8.0, 0.3, 250, morning=40),
}
#: The size of all workers, and what one costs a month (cents).
SIZE, PRICE = "standard-1x", 2500
SETTINGS: Mapping[str, Any] = {
    "middle_management_enabled": True,
    "middle_management_platform": "local",
    "middle_management_max_workers": 10,
    "middle_management_pools": {
        name: {
            **({"queues": [name]} if name != "worker" else {}),
            "min_workers": load.least,
            "max_workers": load.most,
            "jobs_per_worker": load.per_worker,
        }
        for name, load in LOADS.items()
    },
}


#: The same on Heroku, where workers have a price. Nothing asks Heroku for anything.
PRICED: Mapping[str, Any] = {
    **SETTINGS,
    "middle_management_platform": "heroku",
    "middle_management_heroku_api_key": "unused",
    "middle_management_heroku_app": "shop",
}


@dataclass
class PoolWeek:
    """One pool in the course of the week."""

    name: str
    load: Load
    dice: random.Random
    #: Seconds from the time to that of the day whose traffic it has.
    shift: int
    quantity: int = 0
    waiting: int = 0
    running: int = 0
    published: int = 0
    started: int = 0
    finished: int = 0
    waits: float = 0.0
    runtime: float = 0.0
    idle: int = 0
    #: Worker time (ms), by day.
    worked: Counter[str] = field(default_factory=Counter)
    scheduled: Counter[int] = field(default_factory=Counter)

    def step(self, now: int, *, paused: bool) -> dict[str, Any] | None:
        """Let ten seconds pass until *now*; return the entry of a change."""
        self._arrive(now)
        self._run()
        self.worked[day_of(now * 1000)] += self.quantity * STEP * 1000
        advice = backlog(self.waiting + self.running, self.load.per_worker)
        advice = advice.within(self.load.least, self.load.most)
        self.idle = self.idle + STEP if advice.workers < self.quantity else 0
        if paused or advice.workers == self.quantity or 0 < self.idle < CALM:
            return None
        # One more than its tasks need stays for its running ones.
        drained = max(advice.workers, -(-self.running // SLOTS))
        before, self.quantity = self.quantity, max(advice.workers, min(self.quantity, drained))
        self.idle = 0
        if before == self.quantity:
            return None
        action = "hire" if self.quantity > before else "fire"
        entry = {"at": iso(now), "action": action, "from": before, "to": self.quantity}
        return {"pool": self.name, **entry, "reason": advice.why}

    def _arrive(self, now: int) -> None:
        load, like = self.load, now + self.shift
        hour, weekday = like % 86400 / 3600, like // 86400 % 7
        weekend = weekday in {2, 3}
        light = max(math.sin((hour - 6) / 14 * math.pi), 0.0) if 6 <= hour <= 20 else 0.0
        rate = load.night + (load.day - load.night) * light * (0.35 if weekend else 1.0)
        tasks = _poisson(self.dice, rate * STEP / 60)
        if 7 <= hour <= 19 and self.dice.random() < load.bursts * STEP / 43200:
            tasks += round(load.burst * self.dice.uniform(0.5, 1.5))
        if load.morning and 18 <= hour < 20:
            tomorrow = (like // 86400 + 1) * 86400 + 8 * 3600
            due = tomorrow - self.shift + STEP * self.dice.randrange(90)
            self.scheduled[due] += _poisson(self.dice, load.morning / 720)
        for due in [due for due in self.scheduled if due <= now]:
            tasks += self.scheduled.pop(due)
        self.published += tasks
        self.waiting += tasks

    def _run(self) -> None:
        ended = min(_poisson(self.dice, self.running * STEP / self.load.runs), self.running)
        room = self.quantity * SLOTS - self.running + ended
        if self.load.runs < STEP:  # a slot serves several tasks in a step
            room = max(round(self.quantity * SLOTS * STEP / self.load.runs), room)
        begun = max(min(self.waiting, room), 0)
        self.waiting -= begun
        # Those for which there is room begin at once.
        self.waits += self.waiting * STEP + begun * 0.2
        self.started += begun
        running = min(self.running - ended + begun, self.quantity * SLOTS)
        done = self.running + begun - running
        self.running = running
        self.finished += done
        self.runtime += done * self.load.runs

    def state(self, now: int) -> dict[str, str]:
        """The fields of the ledger's state."""
        count = Count(now, self.waiting, self.running, sum(self.scheduled.values()))
        fields = {
            "published": self.published,
            "base_published": self.published,
            "started": self.started,
            "finished": self.finished,
            "base_finished": self.finished,
            "waits": f"{self.waits:.3f}",
            "runtime": f"{self.runtime:.3f}",
            "longest": self.load.runs * 4,
            "quantity": self.quantity,
            "quantity_at": millis(now),
            "counted_at": millis(now),
            "count": pack_count(count, 0),
        }
        return {f"{self.name}/{name}": str(value) for name, value in fields.items()}

    def presences(self, now: int) -> Iterator[Presence]:
        """What each of its workers reports."""
        left = self.running
        for n in range(1, self.quantity + 1):
            runs = min(left, SLOTS)
            left -= runs
            queue = "celery" if self.name == "worker" else self.name
            since = now - self.load.runs * self.dice.uniform(0.1, 1.0)
            yield Presence(
                *(f"{self.name}.{n}", f"{self.name}.{n}", self.name),
                since=now - 3600.0 * n,
                seen=now,
                busy=runs,
                queues=(queue,),
                held={queue: Held(running=runs, unacknowledged=runs)} if runs else {},
                runs=(Run(f"shop.{self.name}.run", since),) if runs else (),
            )


@dataclass
class Week:
    """A week as it is in the ledger."""

    store: Store
    pools: list[PoolWeek]
    presences: list[Presence]

    def write(self, ledger: RedisLedger) -> None:
        """Write it into the ledger's Redis, and the waiting tasks into the queues."""
        keys, store = ledger.keys, self.store
        pipe: Any = ledger.redis.pipeline(transaction=False)
        pipe.delete(*keys.values())
        for stream in ("samples", "tens", "actions"):
            for entry in reversed(getattr(store, stream)):
                pipe.xadd(keys[stream], {"entry": entry})
        pipe.hset(keys["state"], mapping=store.state)
        if store.due:
            pipe.hset(keys["due"], mapping=store.due)
        for pool in self.pools:
            bill = {f"{pool.name}/{day}/{SIZE}": ms for day, ms in pool.worked.items()}
            pipe.hset(keys["bill"], mapping=bill)
        for at, silent in store.workers.values():
            pipe.hset(keys["workers"], silent.id, f"{at} {pack_presence(silent)}")
        for key in keys.values():
            pipe.expire(key, EXPIRY)
        for pool in self.pools:
            queue = "celery" if pool.name == "worker" else pool.name
            pipe.delete(queue)
            if pool.waiting:
                pipe.lpush(queue, *["{}"] * pool.waiting)
        pipe.execute()
        self.report(ledger)

    def report(self, ledger: RedisLedger) -> None:
        """Have every worker report now; the next evaluation is some seconds away."""
        now = ledger.snapshot().now
        told = {"told_at": now, "ticked_at": now, "evaluated_at": now - 3, "next_at": now + 9}
        told |= {"billed_at": now - 3}
        pipe: Any = ledger.redis.pipeline(transaction=False)
        pipe.hset(ledger.keys["state"], mapping={n: str(millis(at)) for n, at in told.items()})
        if self.presences:
            told_by = {p.id: f"{millis(now)} {pack_presence(p)}" for p in self.presences}
            pipe.hset(ledger.keys["workers"], mapping=told_by)
            pipe.expire(ledger.keys["workers"], EXPIRY)
        pipe.execute()


def week(settings: Settings, now: float, seed: int = 7, *, trouble: bool = False) -> Week:
    """Make the week that ends *now* (Unix, s); with *trouble*, some is there at the end."""
    clock = [now - SECONDS]
    store, sampling, end = Store(lambda: clock[0]), sampling_of(settings), int(now) // STEP * STEP
    # One source of chance for each pool: none changes what happens in the others.
    pools = [
        PoolWeek(name, load, random.Random(f"{seed} {name}"), ENDS_LIKE - end, load.least)
        for name, load in LOADS.items()
    ]
    people = _people(end)
    for at in range(end - SECONDS, end + STEP, STEP):
        paused = any(begin <= at < until for begin, until in people.pauses)
        for pool in pools:
            entry = pool.step(at, paused=paused)
            if entry:
                store.actions.insert(0, json.dumps(entry))
                store.state[f"{pool.name}/last_action"] = json.dumps(entry)
        for entry in people.entries.get(at, ()):
            store.actions.insert(0, json.dumps(entry))
        if at % 60 == 0:
            _sample(store, sampling, pools, at)
    del store.actions[HISTORY:]
    _sample(store, sampling, pools, end)
    store.workers.clear()
    presences = [p for pool in pools for p in pool.presences(end)]
    store.state |= {"born": "week", "seq": "1", "kept_at": str(millis(now))}
    store.state |= {"prices": json.dumps({SIZE: PRICE}), "prices_at": str(millis(now - 3600))}
    store.state |= {"billed_since": str(millis(now - SECONDS))}
    accounts = {pool.name: [millis(end), pool.quantity, SIZE, None] for pool in pools}
    store.state["accounts"] = json.dumps(accounts)
    made = Week(store, pools, presences)
    if trouble:
        _add_trouble(made, end)
    return made


def _sample(store: Store, sampling: Any, pools: list[PoolWeek], at: int) -> None:
    store.workers.clear()
    store.due.clear()
    for pool in pools:
        store.state |= pool.state(at)
        store.due |= {f"{pool.name}/{due}": n for due, n in pool.scheduled.items() if n}
        queue = "celery" if pool.name == "worker" else pool.name
        held = {queue: Held(running=pool.running)}
        its = Presence(pool.name, pool.name, pool.name, since=0.0, seen=at, held=held)
        store.workers[pool.name] = at * 1000, its
    take_sample(store, sampling, at * 1000)


class _People(NamedTuple):
    pauses: list[tuple[int, int]]
    entries: dict[int, list[dict[str, Any]]]


def _people(end: int) -> _People:
    """What people did, and a trouble that passed, before the week's *end*."""
    pause, ask, outage = end - 2 * 86400, end - 20 * 3600, end - 7 * 3600
    who, kind, what = "ada@laptop", "platform", OUTAGE
    entries: dict[int, list[dict[str, Any]]] = {
        pause: [
            {"pool": None, "at": iso(pause), "action": "pause", "hires": True, "fires": True}
            | {"until": iso(pause + 1800), "by": who}
        ],
        pause + 1800: [{"pool": None, "at": iso(pause + 1800), "action": "resume", "by": who}],
        ask: [
            {"pool": "pdf", "at": iso(ask), "action": "ask to hire", "from": 0, "to": 2}
            | {"until": iso(ask + 3600), "by": "grace@ops"}
        ],
        outage: [
            {"pool": None, "at": iso(outage), "action": "trouble", "kind": kind}
            | {"reason": what, "since": iso(outage)}
        ],
        outage + 1920: [
            {"pool": None, "at": iso(outage + 1920), "action": "trouble over", "kind": kind}
            | {"reason": what, "since": iso(outage), "lasted": 1920.0}
        ],
    }
    return _People([(pause, pause + 1800)], entries)


def _add_trouble(made: Week, end: int) -> None:
    """Let the platform fail, one worker be silent, and another drain for long."""
    state, since = made.store.state, end - 840
    state["trouble"] = pack_troubles({"platform": Trouble(OUTAGE, end - 300.0)})
    entry = {"pool": None, "at": iso(end - 300), "action": "trouble", "kind": "platform"}
    told = json.dumps(entry | {"reason": OUTAGE, "since": iso(end - 300)})
    made.store.actions.insert(0, told)
    for pool in made.pools[3:5]:
        pool.quantity = max(pool.quantity, 3)
        pool.running = max(pool.running, 2 * SLOTS + 1)
        state |= pool.state(end)
    video, pdf = made.pools[4].name, made.pools[3].name
    cordon = Cordon(above=2, at=float(since), since={f"{video}.3": float(since)})
    state[f"{video}/cordon"] = pack_cordon(cordon)
    made.presences = [p for pool in made.pools for p in pool.presences(end)]
    made.presences = [
        replace(p, stopped=float(since)) if p.name == f"{video}.3" else p for p in made.presences
    ]
    silent = next(p for p in made.presences if p.name == f"{pdf}.2")
    made.store.workers = {silent.id: (millis(end - 190), silent)}
    made.presences.remove(silent)


def _poisson(dice: random.Random, mean: float) -> int:
    if mean <= 0:
        return 0
    if mean > 30:
        return max(round(dice.gauss(mean, math.sqrt(mean))), 0)
    bound, product, number = math.exp(-mean), dice.random(), 0
    while product > bound:
        product *= dice.random()
        number += 1
    return number


@contextmanager
def reporting(ledger: RedisLedger, made: Week) -> Iterator[None]:
    """Have the week's workers report every second, as long as the block lasts."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(1.0):
            made.report(ledger)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def main() -> None:
    """Start a Redis with a week, and keep its workers reporting until Ctrl-C."""
    import argparse

    from celery import Celery

    from celery_middle_management.demo.redis_server import RedisServer
    from celery_middle_management.settings.reading import read_settings

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=7, help="default 7")
    parser.add_argument("--trouble", action="store_true", help="end it with something wrong")
    options = parser.parse_args()
    with RedisServer() as server:
        app = Celery(broker=server.url, set_as_current=False)
        app.conf.update(SETTINGS)
        settings = read_settings(app)
        assert settings is not None
        ledger = RedisLedger(settings)
        made = week(settings, time.time(), options.seed, trouble=options.trouble)
        made.write(ledger)
        print(f"REDIS_URL={server.url} celery -A tests.benchmarks.week_app mm status", flush=True)
        with reporting(ledger, made):
            threading.Event().wait()


if __name__ == "__main__":
    main()
