"""One process's side of the ledger: what it tells and asks, whatever keeps the ledger.

It remembers what the ledger told last: the ledger's time, lest a clock that steps be taken for time
that has passed, and what may still take effect at the platform, lest that be forgotten where the
ledger loses its data.
"""

from __future__ import annotations

import json
import secrets
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from celery_middle_management.core.batch import SLICE, Batch, Finished, Started
from celery_middle_management.core.demand import COARSE_BUCKET, FINE_BUCKET, FINE_HORIZON
from celery_middle_management.core.history import Sample, Totals
from celery_middle_management.core.presence import Presence
from celery_middle_management.core.timing import (
    EVALUATION_GAP,
    KNOWN_TO_FAIL,
    LOCK_SECONDS,
    LONGEST_HOLD,
    STAND_BY,
    WATCHES,
    ZERO_HOLD,
)
from celery_middle_management.ledger.codec import cordon_field, unpack_cordon, unpack_sample
from celery_middle_management.ledger.model import (
    EXPIRY,
    HISTORY,
    MOST_MINUTES,
    MOST_QUEUES,
    TELL_QUEUES,
    Changes,
    Lease,
    LeaseLost,
    Reply,
    Snapshot,
    millis,
)
from celery_middle_management.settings.model import Settings

#: A report is longer than this on its way (s) only if the ledger's clock steps meanwhile.
LONGEST_WAY = 5.0
#: Entries of the state that tell what was sent to the platform and may still take effect.
_UNDER_WAY = ("/fire", "/hire")
_CLOCK_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)
#: A clock that stands still while the machine sleeps vouches for a step (s) up to this one.
LONGEST_STEP = 600.0


def _uptime() -> float:
    if _CLOCK_BOOTTIME is None:
        return time.monotonic()
    return time.clock_gettime(_CLOCK_BOOTTIME)


Message = Mapping[str, Any]


class Clocks(NamedTuple):
    """The clocks of a process (s)."""

    #: Nobody sets it; all processes of a machine share it.
    monotonic: Callable[[], float] = time.monotonic
    #: Unix time.
    wall: Callable[[], float] = time.time
    #: Nobody sets it, and it goes on while the machine sleeps.
    uptime: Callable[[], float] = _uptime


SYSTEM = Clocks()


@dataclass(frozen=True)
class _Heard:
    """The ledger's time *now* (s) that an answer told, between two readings of our uptime."""

    now: float
    sent: float
    received: float

    def bounds(self, at: float) -> dict[str, int]:
        """Between which times (ms) the ledger's is when a report sent *at* arrives."""
        return {
            "least": millis(self.now + at - self.received),
            "most": millis(self.now + at - self.sent + LONGEST_WAY),
            **({"longest": millis(LONGEST_STEP)} if _CLOCK_BOOTTIME is None else {}),
        }


class Ledger(ABC):
    """The counts and the state of an app."""

    def __init__(self, settings: Settings, clocks: Clocks = SYSTEM) -> None:
        self._settings = settings
        self._clocks = clocks
        self._known_queues: dict[str, float] = {}
        self._heard: _Heard | None = None
        #: The ledger's own name for itself: another one, and it has lost its data.
        self._born: str | None = None
        #: What may still take effect at the platform: `<pool>/fire`, `<pool>/hire` of the state.
        self._sent: Mapping[str, dict[str, Any]] = {}
        #: What this process wrote into the history last.
        self._own = deque[str](maxlen=100)

    # -- what keeps it

    @abstractmethod
    def _report(self, message: Message, presence: Presence | None) -> Message:
        """Add what a process tells; see ``lua/report.lua`` for the message and the answer."""

    @abstractmethod
    def _read(self, bounds: Mapping[str, int]) -> Snapshot:
        """Everything at one moment."""

    @abstractmethod
    def _minutes(self, most: int) -> Iterable[str]:
        """So many of the latest samples at most, packed, the latest first."""

    @abstractmethod
    def _commit(self, token: str, message: Message) -> bool:
        """Write what a scaler did, or nothing if the lock is not its; returns whether it is."""

    @abstractmethod
    def _intend(self, message: Message) -> None:
        """Write what a person asked for; see ``lua/intend.lua`` for the message."""

    @abstractmethod
    def actions(self) -> tuple[str, ...]:
        """What was done and asked for, the latest :data:`HISTORY` entries, packed, latest first."""

    @property
    def full(self) -> str:
        """What there is no more of, in words; empty where nothing lacks, or it is not known."""
        return ""

    # -- what is asked of it

    def report(
        self,
        batch: Batch,
        identity: str | None = None,
        presence: Presence | None = None,
        *,
        more: bool = False,
        unseen: int | None = None,
        leaving: bool = False,
        gave_up: bool = False,
    ) -> Reply:
        """Add the counts, tell of a worker, and learn whether an evaluation is ours to make.

        With an *identity* and no *presence* the worker says goodbye. An evaluation is nobody's as
        long as there is *more* to add. *unseen* is that of the last reply; for who is *leaving* it
        makes an evaluation due at once. Who *gave_up* leaves an evaluation behind, in which the
        platform does not answer.
        """
        new_queues = self._new_queues(batch)
        message: dict[str, Any] = {
            **self._terms,
            "pools": self._by_pool(batch),
            "queues": new_queues[-MOST_QUEUES:],
            "queues_left_out": len(new_queues) > MOST_QUEUES,
            "look": batch.unplaced,
            "token": secrets.token_hex(8),
            "more": more,
            "leaving": leaving,
            "gave_up": gave_up,
        }
        if unseen is not None:
            message["unseen"] = unseen
        if identity is not None:
            message["id"] = identity
        if presence is not None:
            message["cordon"] = cordon_field(presence)
        won, sent = self._clocks.monotonic(), self._clocks.uptime()
        message |= self._bounds(sent)
        if self._heard is not None:
            message |= self._memory(self._heard.now + sent - self._heard.received)
        answer = self._report(message, presence)
        self._hear(answer, sent)
        self._known_queues |= dict.fromkeys(new_queues, won)
        return _reply(answer, Lease(message["token"], won) if answer["lease"] else None)

    def snapshot(self) -> Snapshot:
        """Read everything at once."""
        return self._read(self._bounds(self._clocks.uptime()))

    def history(self, most: int = MOST_MINUTES) -> tuple[Sample, ...]:
        """The counters when each of the last *most* minutes began in which anybody told anything,
        the latest first.
        """
        return tuple(map(unpack_sample, self._minutes(most)))

    def commit(
        self,
        lease: Lease,
        changes: Changes,
        seq: str = "",
        next_in: float | None = None,
    ) -> Lease:
        """Write *changes* if the lock is still ours, and renew the lease.

        With *next_in* it is given up instead, and the next evaluation is due that much later (s),
        or soon if anything was told since *seq*.

        Raises:
            LeaseLost: the lock ran out; nothing was written.
        """
        won = self._clocks.monotonic()
        # What was answered we know, written or not; what is announced is sent only then.
        self._remember(changes, announced=False)
        self._own += changes.history
        message = {
            **vars(changes),
            "unset": [*changes.unset],
            "seq": seq,
            "gap": millis(EVALUATION_GAP),
            "expiry": EXPIRY,
            "keep": HISTORY,
            "lock": millis(LOCK_SECONDS),
            **self._bounds(self._clocks.uptime()),
        }
        if next_in is not None:
            message["next"] = millis(next_in)
        if not self._commit(lease.token, message):
            raise LeaseLost
        self._remember(changes, announced=True)
        return replace(lease, won=won)

    def intend(self, fields: Mapping[str, str | None], entry: str) -> None:
        """Write what a person asks for, None to take it back, and *entry* into the history.

        The next evaluation heeds it, and is due at once.
        """
        message = {
            "set": {name: value for name, value in fields.items() if value is not None},
            "unset": [name for name, value in fields.items() if value is None],
            "entry": entry,
            "expiry": EXPIRY,
            "keep": HISTORY,
            **self._bounds(self._clocks.uptime()),
        }
        self._intend(message)

    # -- what it remembers

    @cached_property
    def _terms(self) -> dict[str, Any]:
        """What every report is told of our constants."""
        return {
            "fine": FINE_BUCKET,
            "coarse": COARSE_BUCKET,
            "fine_horizon": FINE_HORIZON,
            "gap": millis(EVALUATION_GAP),
            "longest_hold": millis(LONGEST_HOLD),
            "zero_hold": millis(ZERO_HOLD),
            "interval": millis(self._settings.call_interval),
            "expiry": EXPIRY,
            "stand_by": millis(STAND_BY),
            "watches": millis(WATCHES),
            "lock": millis(LOCK_SECONDS),
            "known_to_fail": millis(KNOWN_TO_FAIL),
            "most_queues": MOST_QUEUES,
            "most_minutes": MOST_MINUTES,
            "counters": Totals._fields,
            "inactive": bool(self._settings.inactive),
        }

    def _bounds(self, at: float) -> dict[str, int]:
        """Those of the ledger's time *at* our uptime, if we have heard of it: should its clock
        step, that must not be taken for time that has passed.
        """
        return self._heard.bounds(at) if self._heard is not None else {}

    def _hear(self, answer: Mapping[str, Any], sent: float) -> None:
        self._heard = _Heard(float(answer["now"]) / 1000, sent, self._clocks.uptime())
        self._born = answer["born"]
        told = answer.get("sent")
        self._sent = json.loads(told) if told else {}

    def _memory(self, now: float) -> dict[str, Any]:
        """What to tell of changes under way, in case the ledger lost its data since we heard."""
        if not self._sent:
            return {}
        told = {
            name: {"to": s["to"], "done": s.get("done", False), "left": s["until"] - now}
            for name, s in self._sent.items()
            if s["until"] > now
        }
        return {"born": self._born, "sent": told} if told else {}

    def _remember(self, changes: Changes, *, announced: bool) -> None:
        sent = {n: json.loads(v) for n, v in changes.set.items() if n.endswith(_UNDER_WAY)}
        known = {n: s for n, s in self._sent.items() if n not in changes.unset}
        self._sent = known | {n: s for n, s in sent.items() if announced or s.get("done")}

    def _new_queues(self, batch: Batch) -> list[str]:
        """Queues published to that the ledger has not heard of from us lately."""
        if not batch.queues:
            return []
        since = self._clocks.monotonic() - TELL_QUEUES
        self._known_queues = {q: at for q, at in self._known_queues.items() if at > since}
        if len(self._known_queues) > 2 * MOST_QUEUES:
            self._known_queues = {}
        return [q for q in batch.queues if q not in self._known_queues and self._unnamed(q)]

    def _unnamed(self, queue: str) -> bool:
        """Whether it is known to what publishes to it alone: no pool names it."""
        pool = self._settings.pool_for(queue)
        return pool is None or pool.queues is None

    def _by_pool(self, batch: Batch) -> dict[str, dict[str, Any]]:
        if not batch:
            return {}
        now, clock = self._clocks.monotonic(), self._clocks.wall()
        maximum = {pool.name: pool.max_workers for pool in self._settings.pools}

        def told(pool: str) -> dict[str, Any]:
            published = batch.published.get(pool, {}).items()
            scheduled = batch.scheduled.get(pool, {}).values()
            begun = batch.started.get(pool, Started())
            done = batch.finished.get(pool, Finished())
            return {
                "maximum": maximum[pool],
                "published": [[millis(now - slot * SLICE), n] for slot, n in published],
                "scheduled": [[millis(due.first - clock), due.tasks] for due in scheduled],
                "started": begun.tasks,
                "waits": begun.waits,
                "finished": done.tasks,
                "runtime": done.runtime,
                "runtime_squares": done.runtime_squares,
                "longest": done.longest,
            }

        pools = {*batch.published, *batch.scheduled, *batch.started, *batch.finished}
        return {pool: told(pool) for pool in pools}


def _reply(answer: Mapping[str, Any], lease: Lease | None) -> Reply:
    return Reply(
        now=float(answer["now"]) / 1000,
        lease=lease,
        wait=answer["wait"] / 1000,
        held={p: min(hold / 1000, LONGEST_HOLD) for p, hold in dict(answer["held"]).items()},
        born=answer["born"],
        cordon=unpack_cordon(answer.get("cordon")),
        unseen=answer.get("unseen"),
        watched=answer["watched"],
        failing=answer["failing"],
        untaken=answer.get("untaken") or 0.0,
        counted_at=(answer.get("counted_at") or 0.0) / 1000,
        why=answer.get("why") or "",
    )
