"""The ledger in Redis: its keys, and the scripts in ``lua/`` that read and write them.

All keys share one prefix with a hash tag, and expire some days after the last sign of life:

- ``state`` (hash): fields of the app, and of each pool under ``<pool>/<field>``
- ``due`` (hash): scheduled tasks by ``<pool>/<bucket>``
- ``workers`` (hash): the presence of each live worker
- ``queues`` (hash): when each queue was last reported or found in use
- ``actions`` (stream): the history: the last changes, troubles and requests by hand, capped
- ``samples`` (stream): the counters and the tasks when each minute began, capped
- ``tens`` (stream): the counters every ten minutes, and the most tasks in between, capped
- ``bill`` (hash): worker time (ms) by ``<pool>/<day>/<size>``
- ``lock`` (string): the token of the one scaler

No key is a list, since other products (Judoscale) take every list for a Celery queue.

Every process writes what it reports (counters, due times, queues, its presence), in ``report.lua``.
Everything else, except requests by hand (``intend.lua``), is written only by the holder of the
lock, in ``commit.lua``, which refuses any other process; only ``claimed``, the last entry of the
history that a process has claimed for a message, is written by ``claim.lua``. Each step is one
script, so if a process dies, the step is done either completely or not at all. Times are in
milliseconds within the scripts and in seconds outside. They are the ledger's: Redis's clock,
corrected so that the ledger's time goes on evenly when that clock steps (``prelude.lua``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
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
from celery_middle_management.ledger.news import ClaimMessage, claim_message
from celery_middle_management.ledger.page import Page, PageMessage, Tail, page_message, tails_of
from celery_middle_management.ledger.sampling import Sampling, sampling_of
from celery_middle_management.settings.model import Settings

#: The keys of each script, in the order in which it takes them.
KEYS = {
    "report": ("state", "due", "workers", "queues", "lock", "samples", "tens"),
    "snapshot": ("state", "due", "workers", "queues"),
    "billed": ("state", "due", "workers", "queues", "bill"),
    "page": ("state", "due", "workers", "queues", "bill", "samples", "tens", "actions"),
    "commit": ("state", "due", "workers", "queues", "actions", "bill", "lock"),
    "intend": ("state", "actions"),
    "claim": ("state", "actions"),
    "probe": ("state", "due", "workers", "queues", "bill", "actions", "samples", "tens"),
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
    "billed": load("whole", "billed", keys=KEYS["billed"]),
    "page": load("whole", "page", keys=KEYS["page"], messages=(PageMessage,)),
    "commit": load("commit", keys=KEYS["commit"], messages=(CommitMessage,)),
    "intend": load("intend", keys=KEYS["intend"], messages=(IntendMessage,)),
    "claim": load("claim", keys=KEYS["claim"], messages=(ClaimMessage,)),
    "probe": read("probe"),
}


class RedisLedger(Ledger):
    """Uses at most one connection. Every method raises redis.RedisError when Redis fails."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._sampling = json.dumps(sampling_of(settings))
        tag = settings.heroku.app if settings.heroku else settings.platform
        names = ("state", "due", "workers", "queues", "actions", "samples", "tens", "bill", "lock")
        self._prefix = f"{{middle-management:{tag}}}"
        self.keys = {name: f"{self._prefix}:{name}" for name in names}
        self.redis = connect(settings)
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
        hashes = 5
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
        *whole, streams, bill, info = self._run("page", json.dumps(message))
        self._tails = tails = tails_of(streams, known)
        return Page(
            snapshot=_snapshot(*whole),
            minutes=tails["samples"].entries,
            tens=tails["tens"].entries,
            actions=tails["actions"].entries,
            bill=_pairs(_lines(bill)),
            full=what_is_full(
                dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
            ),
        )

    def history(self, most: int = MOST_MINUTES) -> tuple[Sample, ...]:
        return unpack_samples(_latest(self.redis, self.keys["samples"], most))

    def _commit(self, token: str, message: CommitMessage) -> bool:
        return bool(self._run("commit", token, json.dumps(message)))

    def _intend(self, message: IntendMessage) -> bool:
        return bool(self._run("intend", json.dumps(message)))

    def actions(self) -> tuple[str, ...]:
        return tuple(_latest(self.redis, self.keys["actions"], HISTORY))

    def billed(self) -> tuple[Snapshot, dict[str, str]]:
        """Read everything and the bill at one moment. ``accounts.entries_of`` reads the bill.

        Time is either on the bill or still on an account of the state.
        """
        bounds: Bounds = {}
        self._add_bounds(bounds, self._clocks.uptime())
        *whole, bill = self._run("billed", json.dumps(bounds))
        return _snapshot(*whole), _pairs(_lines(bill))

    def claim(self, id: str, most: int) -> list[str]:
        """Return at most *most* packed entries that no process has claimed yet, and claim them.

        They are the oldest ones of the last :data:`news.OLDEST` seconds, oldest first. If no answer
        came, the same *id* gets the same entries, unless another process has claimed meanwhile.
        """
        entries: list[str] = self._run("claim", json.dumps(claim_message(id, most)))
        return entries

    def _run(self, name: str, *arguments: str | int) -> Any:
        return self._scripts[name]([self.keys[key] for key in KEYS[name]], arguments)


def _latest(client: Any, stream: str, most: int) -> list[str]:
    """Return the last entries of a stream, the latest first."""
    return [fields["entry"] for _, fields in client.xrevrange(stream, count=most)]


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
