"""The ledger in Redis: its keys, and the scripts in ``lua/`` that read and write them.

All keys share one prefix with a hash tag, and expire some days after the last sign of life:

- ``state`` (hash): fields of the app, and of each pool under ``<pool>/<field>``
- ``due`` (hash): scheduled tasks by ``<pool>/<bucket>``
- ``workers`` (hash): the presence of each live worker
- ``queues`` (hash): when each queue was last reported or found in use
- ``actions`` (stream): the history: the last changes, troubles and requests by hand, capped
- ``samples`` (stream): the counters when each minute began, capped
- ``tens`` (stream): the same every ten minutes, capped
- ``lock`` (string): the token of the one scaler

No key is a list, since other products (Judoscale) take every list for a Celery queue. The releases
until November 2026 had two lists, ``history`` and ``minutes``, which are read until they expire.

Every process writes what it reports (counters, due times, queues, its presence), in ``report.lua``.
Everything else, except requests by hand (``intend.lua``), is written only by the holder of the
lock, in ``commit.lua``, which refuses any other process. Each step is one script, so if a
process dies, the step is done either completely or not at all. Times are in milliseconds within the
scripts and in seconds outside. They are the ledger's: Redis's clock, corrected so that the ledger's
time goes on evenly when that clock steps (``prelude.lua``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import redis

from celery_middle_management.core.history import Sample
from celery_middle_management.core.presence import Presence
from celery_middle_management.ledger.codec import (
    by_pool,
    pack_presence,
    unpack_presences,
    unpack_samples,
)
from celery_middle_management.ledger.connection import connect
from celery_middle_management.ledger.fullness import what_is_full
from celery_middle_management.ledger.ledger import Ledger
from celery_middle_management.ledger.lua import load, read
from celery_middle_management.ledger.messages import (
    Bounds,
    CommitMessage,
    InFlight,
    IntendMessage,
    PoolCounts,
    ReportMessage,
    ReportReply,
)
from celery_middle_management.ledger.model import HISTORY, MOST_MINUTES, Snapshot
from celery_middle_management.ledger.page import Page, PageMessage, Tail, page_message, tails_of
from celery_middle_management.ledger.sampling import Sampling, sampling_of
from celery_middle_management.settings.model import Settings

#: The keys of each script, in the order in which it takes them.
KEYS = {
    "report": ("state", "due", "workers", "queues", "lock", "samples", "tens"),
    "snapshot": ("state", "due", "workers", "queues"),
    "page": ("state", "due", "workers", "queues", "samples", "tens", "actions"),
    "commit": ("state", "due", "workers", "queues", "actions", "lock"),
    "intend": ("state", "actions"),
    "probe": ("state", "due", "workers", "queues", "actions", "samples", "tens"),
}
_REPORT = (
    *("report_state", "report_in_flight", "report_samples", "report_counts", "report_workers"),
    "report",
)
_SCRIPTS = {
    "report": load(
        *_REPORT,
        keys=KEYS["report"],
        messages=(ReportMessage, PoolCounts, InFlight, Sampling, ReportReply),
    ),
    "snapshot": load("whole", "snapshot", keys=KEYS["snapshot"]),
    "page": load("whole", "page", keys=KEYS["page"], messages=(PageMessage,)),
    "commit": load("commit", keys=KEYS["commit"], messages=(CommitMessage,)),
    "intend": load("intend", keys=KEYS["intend"], messages=(IntendMessage,)),
    "probe": read("probe"),
}


class RedisLedger(Ledger):
    """Uses at most one connection. Every method raises redis.RedisError when Redis fails."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._sampling = json.dumps(sampling_of(settings))
        tag = settings.heroku.app if settings.heroku else settings.platform
        names = ("state", "due", "workers", "queues", "actions", "samples", "tens", "lock")
        self._prefix = f"{{middle-management:{tag}}}"
        self.keys = {name: f"{self._prefix}:{name}" for name in names}
        self.redis = connect(settings)
        #: The last entry of the history that :meth:`news` has read.
        self._last_read: str | None = None
        #: What :meth:`page` has read of each stream; replaced as a whole, for other threads' sake.
        self._tails: Mapping[str, Tail] = {}
        self._scripts = {n: self.redis.register_script(text) for n, text in _SCRIPTS.items()}

    def close(self) -> None:
        """Close the connection."""
        self.redis.close()
        self.redis.connection_pool.disconnect()

    def rest(self) -> None:
        """Close the connection until it is used again, but not while another thread uses it."""
        untyped: Any = self.redis
        with untyped.client() as its_only_user:
            its_only_user.connection.disconnect()

    def probe(self) -> None:
        """Use every key as processes do, without changing anything.

        Raises:
            redis.RedisError: Redis failed, or refused one of the commands.
        """
        hashes = 4
        self._run("probe", hashes)
        self.snapshot()

    @property
    def full(self) -> str:
        try:
            info: Any = self.redis.info("memory") | self.redis.info("clients")
        except redis.RedisError:  # such as for a user who may not ask
            return ""
        return what_is_full(info)

    def _report(self, message: ReportMessage, presence: Presence | None) -> ReportReply:
        if presence is not None:
            message["presence"] = pack_presence(presence)
        answer: ReportReply = json.loads(self._run("report", json.dumps(message), self._sampling))
        return answer

    def _read(self, bounds: Bounds) -> Snapshot:
        return _snapshot(*self._run("snapshot", json.dumps(bounds)))

    def page(self) -> Page:
        known = self._tails
        message = page_message(known)
        self._add_bounds(message, self._clocks.uptime())
        *whole, streams, info = self._run("page", json.dumps(message))
        self._tails = tails = tails_of(streams, known)
        return Page(
            snapshot=_snapshot(*whole),
            minutes=tails["samples"].entries,
            tens=tails["tens"].entries,
            actions=tails["actions"].entries,
            full=what_is_full(
                dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
            ),
        )

    def history(self, most: int = MOST_MINUTES) -> tuple[Sample, ...]:
        return unpack_samples(self._latest("samples", most, "minutes", lambda sample: sample[0]))

    def _commit(self, token: str, message: CommitMessage) -> bool:
        return bool(self._run("commit", token, json.dumps(message)))

    def _intend(self, message: IntendMessage) -> bool:
        return bool(self._run("intend", json.dumps(message)))

    def actions(self) -> tuple[str, ...]:
        return tuple(self._latest("actions", HISTORY, "history", lambda entry: entry["at"]))

    def news(self) -> list[str]:
        """Return the history's packed entries that other processes have written since the last
        call, the oldest first; none the first time.
        """
        untyped: Any = self.redis
        actions = self.keys["actions"]
        if self._last_read is None:
            last = untyped.xrevrange(actions, count=1)
            self._last_read = last[0][0] if last else "0-0"
            return []
        latest = untyped.xrevrange(actions, min=self._last_read, count=HISTORY)
        new = [fields["entry"] for place, fields in reversed(latest) if place != self._last_read]
        self._last_read = latest[0][0] if latest else self._last_read
        return [entry for entry in new if entry not in self._own_entries]

    def _latest(self, name: str, most: int, former: str, at: Callable[[Any], Any]) -> list[str]:
        """Return the last entries of a stream and of the list before it, the latest first."""
        untyped: Any = self.redis
        latest = [fields["entry"] for _, fields in untyped.xrevrange(self.keys[name], count=most)]
        old = untyped.lrange(f"{self._prefix}:{former}", 0, most - 1)
        if not old:
            return latest
        return sorted(latest + old, key=lambda entry: at(json.loads(entry)), reverse=True)[:most]

    def _run(self, name: str, *arguments: str | int) -> Any:
        return self._scripts[name]([self.keys[key] for key in KEYS[name]], arguments)


def _snapshot(  # noqa: PLR0917
    now: int, offset: int, state: str, due: str, workers: str, queues: list[str]
) -> Snapshot:
    return Snapshot(
        now=now / 1000,
        state=_pairs(_lines(state)),
        due=by_pool(_pairs(_lines(due))),
        presences=unpack_presences(_pairs(_lines(workers))),
        queues={queue: float(at) / 1000 for queue, at in _pairs(queues).items()},
        offset=offset / 1000,
    )


def _lines(text: str) -> list[str]:
    return text.split("\n") if text else []


def _pairs(flat: list[str]) -> dict[str, str]:
    each = iter(flat)
    return dict(zip(each, each, strict=True))
