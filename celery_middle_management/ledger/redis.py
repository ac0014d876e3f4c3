"""Every Redis key, and what calls the scripts in ``lua/``.

All keys share one prefix with a hash tag, and expire some days after the last sign of life:

- ``state`` (hash): scalars of the app, and of each pool under ``<pool>/<field>``
- ``due`` (hash): scheduled tasks by ``<pool>/<bucket>``
- ``workers`` (hash): the presence of each live worker
- ``queues`` (hash): queues published to, and when last
- ``history`` (list): the last actions, capped
- ``lock`` (string): the token of the one scaler

What a process tells (counters, due times, queues, its presence, and when that was) is written by
every process in ``report.lua``; everything else by the holder of the lock alone, in ``commit.lua``,
which refuses who no longer holds it. Each is one script, so a process that dies between two lines
leaves either all of a step or nothing of it. Times are the ledger's, in milliseconds within the
scripts and in seconds outside: Redis' own, but that they go on evenly when Redis' clock steps
(``prelude.lua``).
"""

from __future__ import annotations

import json
import secrets
import time as time_module
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from time import clock_gettime, monotonic, time
from typing import Any, cast

from celery_middle_management.core.batch import SLICE, Batch, Finished
from celery_middle_management.core.demand import COARSE_BUCKET, FINE_BUCKET, FINE_HORIZON
from celery_middle_management.core.presence import Presence
from celery_middle_management.ledger.connection import connect
from celery_middle_management.ledger.lua import script
from celery_middle_management.ledger.model import (
    EVALUATION_GAP,
    EXPIRY,
    HISTORY,
    LOCK_SECONDS,
    LONGEST_HOLD,
    MOST_QUEUES,
    STAND_BY,
    TELL_QUEUES,
    WATCHES,
    ZERO_HOLD,
    Changes,
    Lease,
    LeaseLost,
    Reply,
    Snapshot,
    millis,
)
from celery_middle_management.settings.model import Settings

#: A report is longer than this on its way (s) only if Redis' clock steps meanwhile, most likely.
LONGEST_WAY = 5.0
#: Entries of the state that tell what was sent to the platform and may still take effect.
_UNDER_WAY = ("/fire", "/hire")
CLOCK_BOOTTIME: int | None = getattr(time_module, "CLOCK_BOOTTIME", None)
#: A clock that stands still while the machine sleeps vouches for a step (s) up to this one.
LONGEST_STEP = 600.0


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
            **({"longest": millis(LONGEST_STEP)} if CLOCK_BOOTTIME is None else {}),
        }


class Ledger:
    """The counts and the state of an app in Redis, over at most one connection.

    Every method raises :class:`redis.RedisError` when Redis fails.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        tag = settings.heroku.app if settings.heroku else settings.platform
        names = ("state", "due", "workers", "queues", "history", "lock")
        prefix = f"{{middle-management:{tag}}}"
        self.keys = {name: f"{prefix}:{name}" for name in names}
        self.redis = connect(settings)
        self._report, self._snapshot, self._commit = (
            self.redis.register_script(script("prelude", name))
            for name in ("report", "snapshot", "commit")
        )
        self._known_queues: dict[str, float] = {}
        self._heard: _Heard | None = None
        #: The ledger's own name for itself: another one, and Redis has lost its data.
        self._born: str | None = None
        #: What may still take effect at the platform: `<pool>/fire`, `<pool>/hire` of the state.
        self._sent: Mapping[str, dict[str, Any]] = {}

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
        token = secrets.token_hex(8)
        message = {
            "pools": self._by_pool(batch),
            "queues": new_queues[-MOST_QUEUES:],
            "queues_left_out": len(new_queues) > MOST_QUEUES,
            "look": batch.unplaced,
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
            "token": token,
            "lock": millis(LOCK_SECONDS),
            "more": more,
            "most_queues": MOST_QUEUES,
            "leaving": leaving,
            "gave_up": gave_up,
        }
        if unseen is not None:
            message["unseen"] = unseen
        if identity is not None:
            message["id"] = identity
        if presence is not None:
            message["presence"] = presence.packed()
            message["pool"] = presence.pool or ""  # JSON's null would be a value to Lua
        won, sent = monotonic(), _uptime()
        message |= self._bounds(sent)
        if self._heard is not None:
            message |= self._memory(self._heard.now + sent - self._heard.received)
        answer = json.loads(
            self._report(
                keys=self._keys("state", "due", "workers", "queues", "lock"),
                args=[json.dumps(message)],
            )
        )
        now = float(answer["now"]) / 1000
        self._heard = _Heard(now, sent, _uptime())
        self._born, self._sent = answer["born"], json.loads(answer.get("sent") or "{}")
        self._known_queues = dict.fromkeys(new_queues, won) | self._known_queues
        return Reply(
            now=now,
            lease=Lease(token, won) if answer["lease"] else None,
            wait=answer["wait"] / 1000,
            held={p: min(hold / 1000, LONGEST_HOLD) for p, hold in dict(answer["held"]).items()},
            born=answer["born"],
            cordon=answer.get("cordon") or None,
            unseen=answer.get("unseen"),
            watched=answer["watched"],
            failing=answer["failing"],
        )

    def snapshot(self) -> Snapshot:
        """Read everything at once."""
        now, offset, state, due, workers, queues = self._snapshot(
            keys=self._keys("state", "due", "workers", "queues"),
            args=[json.dumps(self._bounds(_uptime()))],
        )
        buckets: dict[str, dict[int, int]] = {}
        for name, tasks in _lines(due).items():
            pool, _, bucket = name.rpartition("/")
            buckets.setdefault(pool, {})[int(bucket)] = int(tasks)
        return Snapshot(
            now=now / 1000,
            state=_lines(state),
            due=buckets,
            presences=tuple(_presences(_lines(workers))),
            queues={q: float(at) / 1000 for q, at in _pairs(queues).items()},
            offset=offset / 1000,
        )

    def history(self) -> list[dict[str, Any]]:
        """The last actions, the newest first."""
        entries = cast("list[str]", self.redis.lrange(self.keys["history"], 0, HISTORY - 1))
        return [json.loads(entry) for entry in entries]

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
        won = monotonic()
        # What was answered we know, whether Redis does or not; what is announced is sent only then.
        self._remember(changes, announced=False)
        message = {
            **vars(changes),
            "unset": [*changes.unset],
            "seq": seq,
            "gap": millis(EVALUATION_GAP),
            "expiry": EXPIRY,
            "keep": HISTORY,
            "lock": millis(LOCK_SECONDS),
            **self._bounds(_uptime()),
        }
        if next_in is not None:
            message["next"] = millis(next_in)
        written = self._commit(
            keys=self._keys("state", "due", "workers", "queues", "history", "lock"),
            args=[lease.token, json.dumps(message)],
        )
        if not written:
            raise LeaseLost
        self._remember(changes, announced=True)
        return replace(lease, won=won)

    def close(self) -> None:
        """Close the connection."""
        self.redis.close()
        self.redis.connection_pool.disconnect()

    def _bounds(self, at: float) -> dict[str, int]:
        """Those of the ledger's time *at* our uptime, if we have heard of it: should Redis' clock
        step, it must not be taken for time that has passed.
        """
        return self._heard.bounds(at) if self._heard is not None else {}

    def _memory(self, now: float) -> dict[str, Any]:
        """What to tell of changes under way, in case Redis has lost its data since we heard."""
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

    def _keys(self, *names: str) -> list[str]:
        return [self.keys[name] for name in names]

    def _new_queues(self, batch: Batch) -> list[str]:
        """Queues published to that Redis has not heard of from us lately."""
        since = monotonic() - TELL_QUEUES
        self._known_queues = {q: at for q, at in self._known_queues.items() if at > since}
        if len(self._known_queues) > 2 * MOST_QUEUES:
            self._known_queues = {}
        return [q for q in batch.queues if q not in self._known_queues and self._unnamed(q)]

    def _unnamed(self, queue: str) -> bool:
        """Whether nobody but who publishes to it knows that it is the pool's."""
        pool = self._settings.pool_for(queue)
        return pool is not None and pool.queues is None

    def _by_pool(self, batch: Batch) -> dict[str, dict[str, Any]]:
        now, clock = monotonic(), time()
        maximum = {pool.name: pool.max_workers for pool in self._settings.pools}

        def told(pool: str) -> dict[str, Any]:
            published = batch.published.get(pool, {}).items()
            scheduled = batch.scheduled.get(pool, {}).values()
            return {
                "maximum": maximum[pool],
                "published": [[millis(now - slot * SLICE), n] for slot, n in published],
                "scheduled": [[millis(due.first - clock), due.tasks] for due in scheduled],
                **asdict(batch.finished.get(pool, Finished())),
            }

        return {p: told(p) for p in {*batch.published, *batch.scheduled, *batch.finished}}


def _uptime() -> float:
    """Seconds by a clock that nobody sets, and that goes on while the machine sleeps."""
    return clock_gettime(CLOCK_BOOTTIME) if CLOCK_BOOTTIME is not None else monotonic()


def _presences(told: Mapping[str, str]) -> Iterator[Presence]:
    # Thousands of documents are read in one go: that takes half the time.
    split = [text.split(" ", 1) for text in told.values()]
    documents = json.loads(f"[{','.join(document for _, document in split)}]")
    for identity, (seen, _), document in zip(told, split, documents, strict=True):
        yield Presence.told(document, identity, float(seen) / 1000)


def _lines(text: str) -> dict[str, str]:
    return _pairs(text.split("\n") if text else [])


def _pairs(flat: list[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
