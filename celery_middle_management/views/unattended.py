"""Waiting tasks that no process hires for, and overdue evaluations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from celery_middle_management.core.history import MINUTE, Sample
from celery_middle_management.core.pool_state import PoolState
from celery_middle_management.core.timing import LOCK_SECONDS, STAND_BY
from celery_middle_management.ledger.model import Snapshot
from celery_middle_management.views.facts import Document, Facts, TroubleEntry
from celery_middle_management.views.words import plural, span

#: An evaluation this late (s) will not be made without help, and a process that has not reported
#: for this long will not make one. By then a process that died during an evaluation has been
#: replaced, and the processes that stand by have checked.
OVERDUE = LOCK_SECONDS + 2 * STAND_BY
#: The kind of trouble in which tasks wait and no process hires for them.
UNATTENDED = "unattended"
_DEAD = (
    "no process of the app is alive to hire workers. Start one that publishes or works, or "
    "`{celery} mm run`"
)
_FAILING = (
    "processes of the app are alive, but they run off the platform, or their evaluations fail. "
    "Check their logs"
)
_IMPORT = (
    "import and enable celery_middle_management where tasks are published, or keep "
    "`{celery} mm run` running"
)


def unattended(facts: Facts, pools: Iterable[Document]) -> Iterator[TroubleEntry]:
    """Yield tasks that no process hires for, and changes of the quantity that are overdue."""
    late, to_change = why_no_evaluation(facts.snapshot, facts.samples, facts.celery), []
    next_at = facts.snapshot.time("next_at")
    overdue = late and next_at and facts.snapshot.now - next_at > OVERDUE
    for pool in pools:
        if not_hired := _not_hired(facts, pool):
            yield not_hired
        elif late and pool["tasks"]["waiting"] and not _handled(facts, pool):
            yield _unattended_tasks(facts, pool, late)
        elif overdue and _needs_change(facts, pool):
            to_change.append(pool["name"])
    if to_change:
        what = f"an evaluation that may change {', '.join(to_change)} is overdue: {late}"
        yield TroubleEntry(None, what, facts.snapshot.iso(next_at), "evaluation")


def why_no_evaluation(snapshot: Snapshot, samples: Iterable[Sample], celery: str) -> str:
    """Explain why the next evaluation will not be made, and what to do; empty if it will.

    Args:
        snapshot: the ledger.
        samples: the ledger's history of the last minutes.
        celery: the app's ``celery`` command.
    """
    next_at, told_at = snapshot.time("next_at"), snapshot.time("told_at")
    if snapshot.now - told_at > OVERDUE:
        # Processes have been silent for so long that none will evaluate when the time comes.
        return _DEAD.format(celery=celery)
    if next_at and snapshot.now - next_at <= OVERDUE:
        return ""
    # A process that has been alive for this long has had time for the evaluation.
    before = snapshot.now - OVERDUE
    at_work = any(
        p.since <= before and not p.inactive and not p.silent(snapshot.now)
        for p in snapshot.presences
    )
    reported = any(next_at <= sample.at <= before - MINUTE for sample in samples)
    return _FAILING if at_work or reported else ""


def _needs_change(facts: Facts, pool: Document) -> bool:
    """Return True if an evaluation would change the quantity."""
    needed, current = facts.latest(pool["name"]).needed, pool["workers"]["current"] or 0
    return needed != current or _fire_unanswered(facts.snapshot, pool)


def _handled(facts: Facts, pool: Document) -> bool:
    """Return True if the pool has the workers that it needs, and one serves its queues or boots.

    If the hired workers never report, another entry says so once they have had time to.
    """
    now, queues = facts.snapshot.now, {*pool["queues"]}
    hired = facts.states[pool["name"]].unheard is not None
    served = any(
        not (p.silent(now) or queues.isdisjoint(p.queues)) for p in facts.snapshot.presences
    )
    return (served or hired) and not _needs_change(facts, pool)


def _unattended_tasks(facts: Facts, pool: Document, late: str) -> TroubleEntry:
    """The entry for waiting tasks; *late* says why no process hires for them."""
    snapshot, state = facts.snapshot, facts.states[pool["name"]]
    told_at, next_at = snapshot.time("told_at"), snapshot.time("next_at")
    waiting = pool["tasks"]["waiting"]
    known = max(state.outstanding - pool["tasks"]["running"], 0)
    what = _waits(waiting)
    if told_at or known:
        there = "that reports takes them" if pool["workers"]["current"] else "is hired"
        what += f", and no worker {there}: {late}"
    if waiting > known:
        of_them = f"{waiting - known} of them" if known else "it" if waiting == 1 else "them"
        what += f". No process has reported {of_them}: {_IMPORT.format(celery=facts.celery)}"
    due = min(_overdue(state), default=next_at if next_at <= snapshot.now else 0.0)
    since = max(due, told_at) if snapshot.now - told_at > OVERDUE else due
    return TroubleEntry(
        pool["name"], what, snapshot.iso(since or None if known else None), UNATTENDED
    )


def _overdue(state: PoolState) -> list[int]:
    """The due times (Unix, s) of scheduled tasks that are due and not yet handled."""
    return [bucket for bucket in state.buckets if bucket <= state.now]


def _waits(tasks: int) -> str:
    return plural(tasks, "task waits", "tasks wait")


def _not_hired(facts: Facts, pool: Document) -> TroubleEntry | None:
    """The entry for tasks for which evaluations hire no worker; None if they do hire."""
    waiting, workers, snapshot = pool["tasks"]["waiting"], pool["workers"], facts.snapshot
    if not waiting or workers["current"]:
        return None
    state, mm = facts.states[pool["name"]], f"{facts.celery} mm"
    if not workers["max"]:
        why = _maximum_is_0(state)
    elif state.pause and state.pause.hires:
        why = f"no worker is hired: hires are paused. To end the pause: `{mm} resume`"
    elif state.wish and state.wish.most == 0:
        left = span(state.wish.until - snapshot.now)
        why = (
            f"no worker is hired for another {left}, as requested by `mm fire`. To end that now: "
            f"`{mm} resume`"
        )
    elif _fire_unanswered(snapshot, pool):
        wait = max(snapshot.document(f"{pool['name']}/fire")["until"] - snapshot.now, 0.0)
        why = (
            f"no worker is hired for another {wait:.0f} s: the last fire got no answer, and may "
            "still stop workers until then"
        )
    else:
        return None
    what = f"{_waits(waiting)}, and {why}"
    # It is not known how long tasks that were not scheduled have waited.
    since = snapshot.iso(min(_overdue(state), default=None))
    return TroubleEntry(pool["name"], what, since, "not-hired")


def _maximum_is_0(state: PoolState) -> str:
    if state.pool.limits_until is not None:
        left = span(state.pool.limits_until - state.now)
        return (
            f"no worker is hired for another {left}: until then max_workers is 0, by "
            "middle_management_schedule"
        )
    return (
        "no worker is hired: max_workers is 0. Raise middle_management_max_workers, or the "
        "pool's max_workers in middle_management_pools"
    )


def _fire_unanswered(snapshot: Snapshot, pool: Document) -> bool:
    """Return True if the platform has not confirmed the last fire."""
    fire = snapshot.document(f"{pool['name']}/fire")
    return bool(fire) and not fire.get("done")
