"""What one pool makes of a count."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from celery_middle_management.core.demand import Backlog, Held
from celery_middle_management.core.due_times import wakes_at
from celery_middle_management.core.pool_state import RECOUNT_INTERVAL
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.presence import Presence
from celery_middle_management.core.timing import SILENT
from celery_middle_management.evaluation.pool import PoolEvaluation
from celery_middle_management.evaluation.ports import Queues
from celery_middle_management.ledger.model import Changes, Snapshot, millis
from celery_middle_management.settings.model import Settings
from celery_middle_management.settings.reading import Secret

from .pools import NOW, presence

QUEUE = "celery"
LATER = 10_600
POOL = Pool("worker", (QUEUE,), 0, 5, 1)
SETTINGS = Settings(
    platform="local",
    pools=(POOL,),
    redis_url=Secret(""),
    redis_options={},
    call_interval=10.0,
    count_interval=60.0,
    drain_timeout=None,
    heroku=None,
)


class Counted:
    """A pool that has just been counted, and what is in its state of the ledger then."""

    def __init__(
        self,
        backlog: Backlog,
        *presences: Presence,
        now: float = NOW,
        due: Mapping[int, int] | None = None,
        delayed: bool = False,
        **state: object,
    ) -> None:
        self.state = {"worker/quantity": "0", "worker/finished": "0"}
        self.state |= {f"worker/{name}": str(value) for name, value in state.items()}
        buckets = {"worker": due or {LATER: 200}}
        snapshot = Snapshot(now, self.state, buckets, presences, {QUEUE: now})
        changes = Changes()
        self.pool = PoolEvaluation(
            *(POOL, SETTINGS, snapshot, changes),
            Queues((QUEUE,), lambda _: delayed),
        )
        self.was_stale = self.pool.stale
        self.pool.count(now, {QUEUE: backlog}, self.pool.fleet.living, self.pool.fleet.leaving)
        self.due = changes.due
        self.state |= changes.set
        for name in changes.unset:
            self.state.pop(name, None)

    def again(
        self, backlog: Backlog, *presences: Presence, after: float = 60.0, **state: object
    ) -> Counted:
        """The next count, a minute later or so."""
        old = {name.removeprefix("worker/"): value for name, value in self.state.items()}
        now = self.pool.state.now + after
        return Counted(backlog, *presences, now=now, **old | state)

    @property
    def needed(self) -> int:
        return self.pool.state.needed


def holds(name: str, scheduled: int, running: int = 0, **said: object) -> Presence:
    """A worker with scheduled tasks."""
    return presence(
        name,
        queues=(QUEUE,),
        held={QUEUE: Held(0, running, scheduled, scheduled)},
        due={QUEUE: {LATER: scheduled}},
        **said,
    )


@pytest.mark.parametrize("silence", [0.0, SILENT + 1, 39.0])
@pytest.mark.parametrize("returned", [None, 200])
def test_no_worker_is_hired_for_what_a_fired_worker_held_that_never_said_goodbye(
    silence: float, returned: int | None
) -> None:
    ghost = holds("worker.1", 200, seen=NOW - silence)
    counted = Counted(Backlog(200, returned=returned), ghost)
    assert counted.needed == 0
    assert not counted.due, "they must be known when they fall due"


def test_what_a_dead_worker_held_and_the_broker_has_not_given_back_is_in_no_queue() -> None:
    ghost = holds("worker.1", 200, seen=NOW - 39)
    assert Counted(Backlog(3, returned=0), ghost).needed == 3


def test_no_worker_is_hired_for_what_was_given_back_while_the_others_have_no_room() -> None:
    full = [presence(f"worker.{n}", queues=(QUEUE,), held={QUEUE: Held(0, 1)}) for n in (1, 2)]
    before = Counted(Backlog(0), *full, holds("worker.3", 200), quantity=3)
    assert before.needed == 2
    # It has given them back and has gone, between two counts.
    seen = [presence(p.name, queues=p.queues, held=p.held, seen=NOW + 60) for p in full]
    after = before.again(Backlog(200), *seen, quantity=2)
    assert after.needed == 2
    assert json.loads(after.state["worker/parked"]) == {"tasks": 200, "until": 2}
    # What is published later waits behind them, and is hired for.
    later = [presence(p.name, queues=p.queues, held=p.held, seen=NOW + 120) for p in full]
    assert after.again(Backlog(202), *later).needed == 4
    # Until workers must have come to them: then they are none, or not in this queue.
    assert after.again(Backlog(202), *later, finished=3).needed == 5


def test_scheduled_tasks_told_of_since_the_last_count_may_be_parked() -> None:
    full = presence("worker.1", queues=(QUEUE,), held={QUEUE: Held(0, 1)})
    told = {"quantity": 1, "count": json.dumps({"at": NOW - 50, "waiting": 0, "running": 1} | REST)}
    recently = {"scheduled_at": millis(NOW - 40)}
    assert Counted(Backlog(200), full, **told, **recently).needed == 1
    assert Counted(Backlog(200), full, **told, scheduled_at=millis(NOW - 51)).needed == 5


def test_due_times_are_not_forgotten_while_tasks_move_from_worker_to_worker() -> None:
    gives = holds("worker.2", 100, returning=100)
    takes = presence("worker.1", queues=(QUEUE,))
    assert not Counted(Backlog(0), takes, gives, quantity=2).due
    # When no worker gives back, and none is in a queue or with a worker, they are gone.
    assert rest(takes, quantity=1).due == {f"worker/{LATER}": -200}


# -- what the broker keeps until it is due


BUCKET = 10_050  # fine, for it is no full minute
WITHIN, AFTER = BUCKET + 6.0, BUCKET + 12.5


def delayed(backlog: Backlog, *presences: Presence, now: float, **state: object) -> Counted:
    return Counted(backlog, *presences, now=now, due={BUCKET: 3}, delayed=True, **state)


def test_what_the_broker_keeps_until_it_is_due_is_in_no_queue() -> None:
    counted = delayed(Backlog(2), now=BUCKET - 20.0)
    assert counted.needed == 2
    assert not counted.due
    idle = presence("worker.1", queues=(QUEUE,), seen=BUCKET - 20.0)
    assert not delayed(Backlog(0), idle, now=BUCKET - 20.0, quantity=1).due


def test_no_worker_is_fired_before_what_is_due_has_come_and_it_is_hired_for_once() -> None:
    counted = [delayed(Backlog(arrived), now=WITHIN) for arrived in range(6)]
    assert [c.needed for c in counted] == [3, 3, 3, 3, 4, 5]
    assert not any(c.pool.state.drift for c in counted if c.pool.state.count is None)
    busy = presence("worker.1", queues=(QUEUE,), held={QUEUE: Held(0, 2)}, seen=WITHIN)
    assert delayed(Backlog(2), busy, now=WITHIN, quantity=3).needed == 4
    assert wakes_at(counted[0].pool.state) == AFTER - 0.5


def test_when_it_must_have_come_it_is_counted_at_once() -> None:
    recently = json.dumps({"at": AFTER - 5, "waiting": 0, "running": 0} | REST)
    assert not delayed(Backlog(0), now=WITHIN, count=recently).was_stale
    counted = delayed(Backlog(0), now=AFTER, count=recently, finished=3)
    assert counted.was_stale
    assert counted.due == {f"worker/{BUCKET}": -3}
    assert (counted.needed, counted.pool.state.outstanding) == (0, 0)
    assert delayed(Backlog(2), now=AFTER, count=recently, finished=1).needed == 2


REST = {"scheduled": 0, "restore_at": None}


def rest(*presences: Presence, counted: Mapping[str, object] = {}, **state: object) -> Counted:
    """A count that finds the queue empty, a minute after one that found it so, or as *counted*."""
    last = {"at": NOW - 60, "waiting": 0, "running": 0} | REST | dict(counted)
    return Counted(Backlog(0), *presences, count=json.dumps(last), **state)


def test_due_times_are_not_forgotten_before_the_worker_that_took_the_tasks_has_reported() -> None:
    took = presence("worker.1", queues=(QUEUE,), seen=NOW - 0.9)
    assert not rest(took, scheduled_at=millis(NOW - 0.5), quantity=1).due
    assert rest(took, scheduled_at=millis(NOW - 1.0), quantity=1).due
    # The broker keeps as many messages as it tells of, which may be others: it has finished those.
    assert not rest(took, counted={"at": NOW - 0.5}, quantity=1).due
    assert not rest(took, counted={"parked": 200, "scheduled": 200}, quantity=1).due
    assert not rest(took, counted={"waiting": 1}, quantity=1).due
    assert not rest(took, untold_since=millis(NOW - 1.0), quantity=1).due
    assert not Counted(Backlog(0), took, quantity=1).due, "the first count ever"


def test_scheduled_tasks_that_were_purged_at_rest_wake_no_worker() -> None:
    told = millis(NOW - 70)
    counted = json.dumps({"at": NOW - 60, "waiting": 0, "running": 0} | REST)
    gone = Counted(Backlog(0), scheduled_at=told, count=counted)
    assert gone.due == {f"worker/{LATER}": -200}
    # But they may be anywhere:
    assert not Counted(Backlog(1), scheduled_at=told).due
    assert not Counted(Backlog(0, orphans=1), scheduled_at=told).due
    assert not Counted(Backlog(0), scheduled_at=told, quantity=1).due
    assert not Counted(Backlog(0), presence("worker.1", queues=()), scheduled_at=told).due
    assert not Counted(Backlog(0), scheduled_at=millis(NOW - 4)).due


def burst(untold: int, told_at: float = NOW, **state: object) -> Counted:
    """A count at 0 workers amid scheduled tasks, of which publishers have told of the first 200."""
    return Counted(Backlog(200 + untold), scheduled_at=millis(told_at), **state)


def test_no_worker_is_hired_for_scheduled_tasks_reported_after_the_count() -> None:
    first = burst(untold=50)
    assert first.needed == 0
    assert RECOUNT_INTERVAL in first.pool.waits(0.0, blocked=False)
    # It goes on.
    second = first.again(Backlog(270), after=5.0, scheduled_at=millis(NOW + 4))
    assert second.needed == 0
    # Now they are told of.
    third = Counted(
        Backlog(270),
        now=NOW + 10,
        due={LATER: 270},
        **{n.removeprefix("worker/"): v for n, v in second.state.items()},
    )
    assert third.needed == 0
    assert "worker/untold_since" not in third.state


def test_what_is_told_of_is_hired_for_at_once_amid_scheduled_tasks() -> None:
    assert burst(untold=50, published=2).needed == 2


def test_what_no_process_reports_is_hired_for_once_no_scheduled_task_was_reported() -> None:
    first = burst(untold=3)
    assert first.needed == 0
    assert first.again(Backlog(203), after=5.1).needed == 3
    assert burst(untold=3, told_at=NOW - 60).needed == 3


def test_what_no_process_ever_reports_waits_no_longer_than_half_a_minute() -> None:
    told, needed = burst(untold=3), []
    for second in range(5, 40, 5):
        at = millis(NOW + second)
        told = told.again(Backlog(203), after=5.0, scheduled_at=at)
        needed.append(told.needed)
    assert needed == [0, 0, 0, 0, 0, 3, 3]


def test_nothing_is_left_aside_where_workers_consume() -> None:
    first = burst(untold=50)
    assert "worker/untold_since" in first.state
    consumes = presence("worker.1", queues=(QUEUE,), seen=NOW + 5)
    second = first.again(Backlog(0), consumes, after=5.0, scheduled_at=millis(NOW + 4))
    assert "worker/untold_since" not in second.state
    assert "worker/counted_at" in second.state


def test_what_was_left_aside_is_reckoned_when_it_is_told_of() -> None:
    """As if it was not there at the count, for it is not in it."""
    assert "worker/counted_at" not in burst(untold=1).state
    assert "worker/counted_at" in burst(untold=0).state


def one_of_three(returned: int | None) -> Counted:
    """A count that finds two of three tasks: another worker has taken the third just now."""
    reckoned = json.dumps({"at": NOW - 60, "waiting": 0, "running": 0} | REST)
    return Counted(
        Backlog(1, returned=returned),
        at_work("worker.1"),
        presence("worker.2", queues=(QUEUE,)),
        count=reckoned,
        published=3,
        quantity=3,
    )


def at_work(name: str, seen: float = NOW) -> Presence:
    return presence(name, queues=(QUEUE,), held={QUEUE: Held(0, 1)}, seen=seen)


def test_no_worker_is_fired_for_a_task_taken_just_now_if_the_broker_does_not_tell_of_it() -> None:
    assert one_of_three(returned=0).pool.fresh
    first = one_of_three(returned=None)
    assert not first.pool.fresh
    assert min(first.pool.waits(0.0, blocked=False)) <= RECOUNT_INTERVAL
    later = [at_work(f"worker.{n}", seen=NOW + 5) for n in (1, 2)]
    second = first.again(Backlog(1), *later, after=5.0)
    assert (second.pool.fresh, second.needed) == (True, 3)


def test_fewer_tasks_than_reckoned_are_believed_when_a_later_count_finds_them_too() -> None:
    first = one_of_three(returned=None)
    soon = first.again(Backlog(0), at_work("worker.1", NOW + 1), after=1.0)
    assert not soon.pool.fresh, "a worker may take this long to report"
    later = first.again(Backlog(1), at_work("worker.1", NOW + 5), after=5.0)
    assert (later.pool.fresh, later.needed) == (True, 2)
    still_fewer = first.again(Backlog(0), at_work("worker.1", NOW + 5), after=5.0)
    assert (still_fewer.pool.fresh, still_fewer.needed) == (True, 1)
