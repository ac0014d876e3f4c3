"""The messages to and from the scripts in ``lua/``, whose tables say what each field means."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TypedDict, cast

from celery_middle_management.core.batch import SLICE, Batch, Finished, Moment, Started
from celery_middle_management.core.demand import COARSE_BUCKET, FINE_BUCKET, FINE_HORIZON
from celery_middle_management.core.timing import (
    EVALUATION_GAP,
    KNOWN_TO_FAIL,
    LOCK_SECONDS,
    LONGEST_HOLD,
    STAND_BY,
    WATCHES,
    ZERO_HOLD,
)
from celery_middle_management.ledger.codec import unpack_cordon
from celery_middle_management.ledger.model import (
    BILL_EXPIRY,
    EXPIRY,
    HISTORY,
    MOST_QUEUES,
    Changes,
    Lease,
    Reply,
    millis,
)
from celery_middle_management.settings.model import Settings


class Bounds(TypedDict, total=False):
    """The bounds on the ledger's time that a process knows. See ``prelude.lua``."""

    least: int
    most: int
    longest: int


class PoolCounts(TypedDict):
    """The events of a pool that a process reports.

    See ``report.lua`` for the fields of this class and of the others up to :class:`ReportReply`.
    """

    maximum: int
    published: list[list[int]]
    scheduled: list[list[int]]
    started: int
    waits: float
    late: int
    finished: int
    runtime: float
    runtime_squares: float
    longest: float


class InFlight(TypedDict):
    """A call that can still take effect at the platform, as a process remembers it."""

    to: int
    done: bool
    left: float


class Constants(TypedDict):
    """The fields that have the same values in each report of a process."""

    inactive: bool
    fine: int
    coarse: int
    fine_horizon: int
    gap: int
    interval: int
    zero_hold: int
    longest_hold: int
    stand_by: int
    watches: int
    lock: int
    known_to_fail: int
    most_queues: int
    expiry: int


class Report(Constants):
    """The fields that each report has."""

    pools: dict[str, PoolCounts]
    queues: list[str]
    queues_left_out: bool
    look: bool
    token: str
    more: bool
    leaving: bool
    gave_up: bool


class ReportMessage(Report, Bounds, total=False):
    """The report of a process."""

    unseen: int
    id: str
    presence: str
    cordon: str
    born: str
    sent: dict[str, InFlight]


class _Answer(TypedDict):
    now: str
    lease: bool
    wait: float
    held: Mapping[str, float]
    born: str
    watched: bool
    failing: bool


class ReportReply(_Answer, total=False):
    """The answer to a report."""

    sent: str | None
    unseen: int | None
    untaken: float | None
    counted_at: float | None
    cordon: str | None
    why: str | None


class _Commit(TypedDict):
    number: int
    set: dict[str, str]
    unset: list[str]
    add: dict[str, int]
    due: dict[str, int]
    gone: list[str]
    used_queues: list[str]
    idle_queues: list[str]
    history: list[str]
    bill: dict[str, int]
    bill_days: list[int]
    bill_expiry: int
    seq: str
    gap: int
    lock: int
    keep: int
    expiry: int


class CommitMessage(_Commit, Bounds, total=False):
    """The changes that a scaler writes. See ``commit.lua``."""

    next: int


class _Intend(TypedDict):
    read: dict[str, str]
    set: dict[str, str]
    unset: list[str]
    id: str
    entry: str
    keep: int
    expiry: int


class IntendMessage(_Intend, Bounds):
    """A request by hand. See ``intend.lua``."""


def constants(settings: Settings) -> Constants:
    """Return the fields that are the same in every report of a process."""
    return {
        "inactive": bool(settings.inactive),
        "fine": FINE_BUCKET,
        "coarse": COARSE_BUCKET,
        "fine_horizon": FINE_HORIZON,
        "gap": millis(EVALUATION_GAP),
        "interval": millis(settings.call_interval),
        "zero_hold": millis(ZERO_HOLD),
        "longest_hold": millis(LONGEST_HOLD),
        "stand_by": millis(STAND_BY),
        "watches": millis(WATCHES),
        "lock": millis(LOCK_SECONDS),
        "known_to_fail": millis(KNOWN_TO_FAIL),
        "most_queues": MOST_QUEUES,
        "expiry": EXPIRY,
    }


def report_message(
    constants: Constants,
    counts: dict[str, PoolCounts],
    queues: list[str],
    *,
    look: bool,
    more: bool,
    leaving: bool,
    gave_up: bool,
) -> ReportMessage:
    """Return the message of a report with a new token, without the optional fields."""
    report: Report = {
        **constants,
        "pools": counts,
        "queues": queues[-MOST_QUEUES:],
        "queues_left_out": len(queues) > MOST_QUEUES,
        "look": look,
        "token": secrets.token_hex(8),
        "more": more,
        "leaving": leaving,
        "gave_up": gave_up,
    }
    return cast("ReportMessage", report)


def counts_by_pool(batch: Batch, settings: Settings, now: Moment) -> dict[str, PoolCounts]:
    """Return the counts in a batch by pool, with times relative to *now*."""
    pools = {*batch.published, *batch.scheduled, *batch.started, *batch.finished}
    # With a schedule the highest, since a process does not know the ledger's calendar.
    maximum = {pool.name: pool.widest.max_workers for pool in settings.pools} if pools else {}
    return {pool: _counts(batch, pool, maximum[pool], now) for pool in pools}


def _counts(batch: Batch, pool: str, maximum: int, now: Moment) -> PoolCounts:
    published = batch.published.get(pool, {}).items()
    scheduled = batch.scheduled.get(pool, {}).values()
    started = batch.started.get(pool, Started())
    finished = batch.finished.get(pool, Finished())
    return {
        "maximum": maximum,
        "published": [[millis(now.monotonic - slot * SLICE), n] for slot, n in published],
        "scheduled": [[millis(due.first - now.unix), due.tasks] for due in scheduled],
        "started": started.tasks,
        "waits": started.waits,
        "late": started.late,
        "finished": finished.tasks,
        "runtime": finished.runtime,
        "runtime_squares": finished.runtime_squares,
        "longest": finished.longest,
    }


def commit_message(number: int, changes: Changes, seq: str, next_in: float | None) -> CommitMessage:
    """Return the message of a commit; only an evaluation's last one has *next_in* (s)."""
    message: CommitMessage = {
        "number": number,
        "set": changes.set,
        "unset": [*changes.unset],
        "add": changes.add,
        "due": changes.due,
        "gone": changes.gone,
        "used_queues": changes.used_queues,
        "idle_queues": changes.idle_queues,
        "history": changes.history,
        "bill": changes.bill,
        "bill_days": changes.bill_days,
        "bill_expiry": BILL_EXPIRY,
        "seq": seq,
        "gap": millis(EVALUATION_GAP),
        "lock": millis(LOCK_SECONDS),
        "keep": HISTORY,
        "expiry": EXPIRY,
    }
    if next_in is not None:
        message["next"] = millis(next_in)
    return message


def intend_message(
    read: Mapping[str, str | None], fields: Mapping[str, str | None], id: str, entry: str
) -> IntendMessage:
    """Return the message of a request: fields of the state to write, or to delete if None."""
    return {
        "read": {name: value or "" for name, value in read.items()},
        "set": {name: value for name, value in fields.items() if value is not None},
        "unset": [name for name, value in fields.items() if value is None],
        "id": id,
        "entry": entry,
        "keep": HISTORY,
        "expiry": EXPIRY,
    }


def reply_of(answer: ReportReply, lease: Lease | None) -> Reply:
    """Return the reply in an *answer*, with times in seconds, and the *lease* if there is one."""
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
