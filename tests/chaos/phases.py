"""The course of a run: load and trouble, quiet, and again."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable

from tests.emulator import DynoInfo

from .faults import Monkey
from .faults.platform import LATEST_WRITE
from .history import HistoryWatch
from .invariants import AT_MINIMUM
from .journal import Event, Follower
from .stage import PLAIN_QUEUE, Stage

#: A task that is not done within this time (s) of a quiet phase is lost. It is three times as long
#: as the slowest broker takes to give back what a killed worker held.
DONE_WITHIN = 180.0
#: A publisher comes to rest within this time (s), even if its broker was healed only just now.
PUBLISHED_WITHIN = 30.0
#: A task that has been neither done nor in the broker for this long (s) is lost.
NOWHERE = 10.0
#: How many tasks other apps publish, to check that they hire no worker, or no more than are needed;
#: and for how long (s) that is watched.
PROBES = {"twin": 11, "second": 5, "foreign": 40}
PROBED_FOR = 12.0
#: At rest, every pool is counted again within this time (s).
COUNTED_WITHIN = 40.0
#: A load phase shorter than this (s) is not begun.
SHORTEST = 20.0


class Run:
    """Makes phases until the time is over; then the journal has all that is needed to judge."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._random = random.Random(f"phases-{stage.seed}")
        self._monkey = Monkey(stage)
        self._follower = Follower(stage.journal_path)
        self._owed = Owed()
        self._given_up: dict[str, str] = {}
        self._look_at = 0.0
        self._seen_at = 0.0
        self._watch = DynoWatch(stage)

    def run(self, seconds: float) -> None:
        watches = self._watch, HistoryWatch(self._stage)
        for watch in watches:
            watch.start()
        try:
            over = time.monotonic() + seconds
            while (left := over - time.monotonic()) > SHORTEST:
                self._load(min(self._random.uniform(50.0, 240.0), max(left - 30.0, SHORTEST)))
                self._quiet()
                if self._stage.several:
                    self._probe(self._random.choice(list(PROBES)))
        finally:
            for watch in watches:
                watch.stop()
        self._stage.record_platform()
        self._stage.record_keys()

    def _load(self, seconds: float) -> None:
        trouble = seconds * self._random.uniform(0.4, 0.9)
        try:
            self._monkey.release()
            self._waves(trouble)
            self._monkey.cage()
            self._waves(seconds - trouble)
        finally:
            self._stage.load("")
            self._monkey.cage()

    def _waves(self, seconds: float) -> None:
        """Make load that comes and goes; mostly the pool gets time to shrink to its minimum."""
        over = time.monotonic() + seconds
        while (left := over - time.monotonic()) > 0.0:
            if self._random.random() < 0.12 or time.monotonic() < self._stage.sparse_until:
                # Surplus workers have a long time to drain, and some are busy all the while.
                self._stage.load("sparse")
                self._wait(lambda: False, min(self._random.uniform(60.0, 150.0), left))
            # Long and scheduled tasks keep the pool from shrinking.
            self._stage.load(self._random.choice(["short", "short", "short", "mixed"]))
            time.sleep(self._random.uniform(2.0, 5.0))
            self._stage.load("")
            time.sleep(self._random.uniform(2.0, 8.0))
            if self._random.random() < 0.7:
                self._wait(self._stage.at_minimum, 16.0)

    def _quiet(self) -> None:
        stage, since = self._stage, time.time()
        self._wait(self._published, PUBLISHED_WITHIN)
        self._seen_at = time.monotonic()
        self._wait(self._done, DONE_WITHIN)
        self._give_up()
        self._wait(self._settled, LATEST_WRITE + AT_MINIMUM + 30.0)
        changes = list(stage.emulator.changes)
        by_hand = [c.at_wall for c in changes if c.by == "hand"]
        # A person who scaled by hand after the last task's end has delayed it.
        last_end = max([self._owed.last_end or since, *by_hand[-1:]])
        last_change = max((c.at_wall for c in changes), default=self._watch.last_change)
        stage.journal.write(
            "quiet",
            began=since,
            last_end=last_end,
            reached=max(last_change, last_end) if stage.at_minimum() else None,
            undone=self._given_up,
        )
        stage.broker.empty(PLAIN_QUEUE)

    def _settled(self) -> bool:
        """Return whether every pool is at its minimum, with no change still on its way."""
        return self._stage.emulator.pending == 0 and self._stage.at_minimum()

    def _probe(self, app: str) -> None:
        """Let another app of the publishers publish while our apps have nothing to do."""
        stage = self._stage
        stage.clear_elsewhere()
        # Tasks lost or reported twice in trouble are still reckoned with until the next count.
        before = stage.counts()
        self._wait(lambda: before.isdisjoint(stage.counts()), COUNTED_WITHIN)
        began = time.time()
        stage.probe(app, PROBES[app])
        self._wait(lambda: False, PROBED_FOR)
        second = stage.second.changes if stage.second else []
        hired = max((c.after for c in second if c.at_wall >= began), default=0)
        stage.journal.write(
            "probe", began=began, until=time.time(), app=app, tasks=PROBES[app], second=hired
        )
        self._wait(self._done, DONE_WITHIN)

    def _give_up(self) -> None:
        """Record which tasks are still owed and where the broker has them; stop waiting."""
        if undone := self._owed.ids():
            there = self._stage.broker.has(undone)
            self._given_up.update({i: there.get(i, "nowhere") for i in undone})
            self._owed.settle(undone)

    def _wait(self, condition: Callable[[], bool], timeout: float) -> None:
        give_up = time.monotonic() + timeout
        while time.monotonic() < give_up:
            self._owed.update(self._follower.read())
            if condition():
                return
            time.sleep(0.2)

    def _done(self) -> bool:
        """Return whether no task is owed, or the broker has long had none of those that are."""
        owed, now = self._owed.ids(), time.monotonic()
        if not owed:
            return True
        if now >= self._look_at:
            self._look_at = now + 1.0
            if self._stage.broker.has(owed):
                self._seen_at = now
        return now - self._seen_at > NOWHERE

    def _published(self) -> bool:
        """Return whether every publisher and every person has come to rest."""
        stage = self._stage
        everyone = [*stage.publishers, *stage.plain_publishers, *stage.people]
        return {p.pid for p in everyone} <= self._owed.idle


class Owed:
    """The tasks that are still to be done, updated event by event."""

    def __init__(self) -> None:
        self.idle: set[int] = set()
        self.last_end = 0.0
        self._published: set[str] = set()
        self._settled: set[str] = set()

    def ids(self) -> set[str]:
        return self._published - self._settled

    def settle(self, ids: Iterable[str]) -> None:
        self._settled.update(ids)

    def update(self, events: Iterable[Event]) -> None:
        for event in events:
            kind = event["kind"]
            if kind == "published" and not event["plain"]:
                self._published.add(event["id"])
            elif kind == "ended":
                self.last_end = max(self.last_end, event["at"])
                if event["how"] == "done":
                    self._settled.add(event["id"])
            elif kind == "revoked":
                self._settled.add(event["id"])
            elif kind == "purged":
                self.settle(event["ids"])
            elif kind == "idle":
                self.idle.add(event["pid"])
            elif kind == "busy":
                self.idle.discard(event["pid"])


class DynoWatch(threading.Thread):
    """Records the process of each dyno, because that is forgotten once the dyno has gone."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(name="dyno-watch", daemon=True)
        self._stage = stage
        self._over = threading.Event()
        #: When (Unix, s) a one-off dyno last came or went.
        self.last_change = 0.0

    def run(self) -> None:
        stage, known, there = self._stage, set(), dict[str, DynoInfo]()
        while not self._over.wait(0.05):
            dynos = stage.emulator.dynos()
            for dyno in dynos:
                if dyno.pid is not None and dyno.id not in known:
                    known.add(dyno.id)
                    stage.journal.write("dyno", id=dyno.id, name=dyno.name, pid=dyno.pid)
            if not stage.one_off:
                continue
            now_there = {d.id: d for d in dynos if d.one_off and stage.is_worker(d)}
            for gone in there.keys() - now_there.keys():
                stage.journal.write("gone", id=gone, name=there[gone].name, pid=there[gone].pid)
            if now_there.keys() != there.keys():
                self.last_change = time.time()
                self._count()
            there = now_there

    def _count(self) -> None:
        # If one hire started two dynos, that is not our fault.
        for pool, hires in self._stage.one_offs().items():
            self._stage.journal.write("crowd", pool=pool, quantity=len(set(hires)))

    def stop(self) -> None:
        self._over.set()
        self.join()
