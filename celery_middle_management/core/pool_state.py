"""The state of one pool in the ledger, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from celery_middle_management.core.backoff import Unheard
from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.demand import Count, due_by, reckon
from celery_middle_management.core.intents import ManualRequest, Pause
from celery_middle_management.core.pace import LONG, NEW, SHORT, Pace
from celery_middle_management.core.policies import Advice, auto, max_wait
from celery_middle_management.core.policies.backlog import backlog
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.roster import Roster

#: How long (s) a hired worker is assumed to take to report, until that has been measured.
BOOT_SECONDS = 10.0
#: If a count failed or differed from the reckoning, count again after this time (s).
RECOUNT_INTERVAL = 5.0
#: Weight of the newest boot in the moving average.
BOOT_WEIGHT = 0.3


@dataclass(frozen=True)
class Sent:
    """A quantity that was sent to the platform and may take effect until *until* (Unix, s)."""

    to: int
    until: float
    #: The platform has confirmed it, but may not have stopped the workers yet.
    done: bool = False
    #: True if it is the number of one-off workers, all on the roster. False if the ledger had lost
    #: its data and a process reported the number again.
    on_roster: bool = False


@dataclass(frozen=True)
class Refusal:
    """A refusal of the platform to do something for the pool. Times are Redis', Unix (s)."""

    why: str
    at: float
    #: The platform is not asked again before this time.
    until: float
    #: How many workers it would run; None if it would do nothing at all.
    limit: int | None = None


@dataclass(frozen=True)
class Parked:
    """Scheduled tasks that stay in the queues because no worker has room for them.

    Queues are worked off in order. So workers have reached these tasks once the tasks in front of
    them are finished: when the pool's counter of finished tasks is beyond *until*.
    """

    tasks: int = 0
    until: int = 0


@dataclass(frozen=True)
class PoolState:
    """A pool as the ledger knows it. Times are Redis', Unix (s)."""

    pool: Pool
    now: float
    #: The quantity that the platform keeps, ...
    formation: int | None = None
    #: ... and the one-off workers beside it.
    one_offs: int = 0
    #: When the platform reported the quantity.
    quantity_at: float = 0.0
    published: int = 0
    finished: int = 0
    base_published: int = 0
    base_finished: int = 0
    #: The tasks that were started, and those of them that had waited for longer than `max_wait`.
    started: int = 0
    late: int = 0
    #: How long (s) the finished tasks ran, in all.
    runtime: float = 0.0
    count: Count | None = None
    #: Dead reckoning minus the count, when the count was taken.
    drift: int = 0
    buckets: Mapping[int, int] = field(default_factory=dict)
    #: The broker itself keeps scheduled tasks until they are due: until then they are in no queue.
    delayed: bool = False
    #: When a publisher last reported scheduled tasks.
    scheduled_at: float = 0.0
    parked: Parked = field(default_factory=Parked)
    #: When counts began to find tasks that no process has reported, while scheduled ones come in.
    untold_since: float | None = None
    #: How many of these tasks the last count set aside.
    aside: int = 0
    cordon: Cordon = field(default_factory=Cordon)
    roster: Roster = field(default_factory=Roster)
    #: The one-off workers that must leave.
    leave: Cordon = field(default_factory=Cordon)
    fire: Sent | None = None
    hire: Sent | None = None
    #: When the quantity was last raised; None once the boot that followed has been measured.
    raised_at: float | None = None
    #: The hire after which no new worker has reported, if any.
    unheard: Unheard | None = None
    boot: float = BOOT_SECONDS
    pace: Pace = NEW
    #: The workers that have come up and do not shut down.
    up: int = 0
    #: The tasks that run now, by the workers' reports, and how long (s) they have been running.
    running: int = 0
    elapsed: float = 0.0
    #: How many tasks a worker runs at the same time; 0 if none has said.
    slots: int = 0
    #: The longest time (s) that a task of the pool has taken.
    longest: float = 0.0
    last_refusal: Refusal | None = None
    #: A person's requests, while they last.
    pause: Pause | None = None
    wish: ManualRequest | None = None
    #: Workers that were up but had not reported when the platform was last asked, and when each
    #: was first found so.
    missed: Mapping[str, float] = field(default_factory=dict)
    missed_at: float = 0.0
    #: The workers that are up but take nothing, though they should, and when that began.
    deaf: Mapping[str, float] = field(default_factory=dict)
    #: For how long (s) the process that evaluates the pool could; 0 if it is about to end.
    able_for: float = inf
    #: Since when tasks have waited though the pool has its maximum of workers.
    stuck_since: float | None = None

    @property
    def quantity(self) -> int | None:
        """The number of workers that there should be; None if it is not known."""
        return None if self.formation is None else self.formation + self.one_offs

    @property
    def refusal(self) -> Refusal | None:
        """The platform's last refusal, while the request must not be repeated."""
        last = self.last_refusal
        return last if last is not None and self.now < last.until else None

    @property
    def denied(self) -> Refusal | None:
        """The refusal, unless it is a limit that allows as many workers as are needed.

        That of workers that crash holds until one has come up well.
        """
        refusal = self.last_refusal if self.roster.crashing else self.refusal
        enough = refusal and refusal.limit is not None and self.needed <= refusal.limit
        return None if enough else refusal

    @property
    def hire_failed(self) -> bool:
        """True if no worker has reported since the last hire, though one should have by now."""
        if self.unheard is None or not self.quantity:
            return False
        return self.unheard.failed(self.now, self.boot)

    @property
    def hires_resume_at(self) -> float | None:
        """When (Unix, s) the pause after a failed hire ends; None outside such a pause."""
        if self.unheard is None or not self.hire_failed:
            return None
        at = self.unheard.resumes_at(self.boot)
        return at if self.now < at else None

    @property
    def more_at_most(self) -> int | None:
        """How many more workers may be hired now; None if as many as are needed, as from zero.

        After a failed hire it is 0 during the pause, and then 1.
        """
        if not self.hire_failed:
            return None
        return 1 if self.hires_resume_at is None else 0

    @property
    def outstanding(self) -> int:
        """Dead reckoning of the tasks that need a worker now."""
        return self._reckoned(self.now)

    @property
    def demand(self) -> int:
        """Tasks that need a worker now, or will before one could be hired for them."""
        return self._reckoned(self.now + self.boot)

    def _reckoned(self, until: float) -> int:
        return reckon(
            self.count,
            self.published - self.base_published,
            self.finished - self.base_finished,
            due_by(self.buckets, until),
        )

    @property
    def advice(self) -> Advice:
        """The advice of the pool's policy, within the limits."""
        return self.advised(self.demand)

    def advised(self, demand: int) -> Advice:
        """Return the policy's advice for a *demand* (tasks)."""
        pool = self.pool
        advice = unlimited(self, demand)
        if self.wish is not None:
            advice = self.wish.applied_to(advice)
        return advice.within(pool.min_workers, pool.max_workers)

    @property
    def needed(self) -> int:
        """The number of workers needed, within the limits."""
        return self.advice.workers

    @property
    def unsettled(self) -> int | None:
        """The quantity that a fire of unknown outcome may still lead to."""
        fire = _pending(self.fire, self.now)
        return fire.to if fire and not fire.done else None

    @property
    def stopping(self) -> int | None:
        """The quantity of a fire after which the platform may still be stopping workers."""
        fire = _pending(self.fire, self.now)
        return fire.to if fire and fire.done else None

    @property
    def ceiling(self) -> int | None:
        """The quantity of a hire of unknown outcome: if it lands late, it undoes a higher one."""
        hire = _pending(self.hire, self.now)
        return hire.to if hire else None


def unlimited(state: PoolState, demand: int) -> Advice:
    """Return the policy's advice for a *demand* (tasks), without limits or requests by hand."""
    deaf = 0 if state.pool.one_off else len(state.deaf)
    return _by_policy(state, demand).beside(deaf)


def _by_policy(state: PoolState, demand: int) -> Advice:
    wait = state.pool.max_wait
    return (
        backlog(demand, jobs_per_worker(state)) if wait is None else _by_wait(state, demand, wait)
    )


def jobs_per_worker(state: PoolState) -> int:
    """Return the number of tasks for each worker, as set or as measured."""
    if state.pool.jobs_per_worker is not None:
        return state.pool.jobs_per_worker
    slots, boot = state.pace.slots, state.boot
    # Before any run time is known, a task is assumed to run for as long as a boot takes.
    return auto.jobs_per_worker(slots, boot, state.pace.mean(boot))


def _by_wait(state: PoolState, demand: int, wait: float) -> Advice:
    pace, now, workers = state.pace, state.now, state.quantity or 0
    assumed = max_wait.assumed_mean(wait, state.boot)
    view = max_wait.View(
        tasks=demand,
        workers=workers,
        booting=max(workers - state.up, 0),
        up_in=max((state.raised_at or 0.0) + state.boot - now, 0.0),
        slots=pace.slots,
        boot=state.boot,
        mean=pace.mean(assumed),
        doubt=pace.doubt,
        short=pace.short.rate(SHORT),
        long=pace.long.rate(LONG),
        rate_then=pace.rate_then,
        arrived=now - pace.arrived_at,
        waited=now - pace.waiting_since if pace.waiting_since else 0.0,
        factor=pace.factor,
        running=state.running,
        running_for=state.elapsed / state.running if state.running else 0.0,
        put_off=_may_put_off(state, wait),
    )
    return max_wait.max_wait(view, wait)


def _may_put_off(state: PoolState, wait: float) -> float:
    """Return for how long (s) a hire for tasks that may *wait* (s) may be put off at most.

    A process that has not been there for so long may soon be gone, and there may be no other. A
    change of the limits may forbid the hire. A ledger that has lost its data does not know for how
    long the tasks have waited that are in the queues. A minimum needs a worker in any case.
    """
    until = state.pool.limits_until
    untold = state.now - state.pace.since < wait and state.outstanding > state.published
    if state.able_for < wait or untold or state.pool.min_workers:
        return 0.0
    return inf if until is None else until - state.now


def _pending(sent: Sent | None, now: float) -> Sent | None:
    """Return what was sent if it may still take effect."""
    return sent if sent and now < sent.until else None
