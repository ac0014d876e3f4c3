"""One pool's state of the ledger: what it says, and how it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

from celery_middle_management.core.backoff import Unheard
from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.demand import Count, due_by, end_of, reckon
from celery_middle_management.core.intents import Pause, Wish
from celery_middle_management.core.policies import Advice
from celery_middle_management.core.policies.backlog import backlog
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.roster import Roster

#: How long (s) a hired worker takes to report, until it has been measured.
BOOT_SECONDS = 10.0
#: After a count that failed or surprised, count again after this time (s).
RECOUNT_INTERVAL = 5.0
#: Workers that consume have taken a scheduled task this long (s) after its publisher told of it.
TAKEN_WITHIN = 5.0
#: A broker hands on what it kept until it was due this long (s) after that, at most.
HANDED_ON_WITHIN = 2.0
#: Weight of the newest boot in the moving average.
_BOOT_WEIGHT = 0.3
#: While scheduled tasks are published, those that nobody has told of are left aside for so long
#: (s): there may be other publishers, that never tell.
UNTOLD_FOR = 30.0


@dataclass(frozen=True)
class Sent:
    """A quantity that was sent to the platform and may take effect until *until* (Unix, s)."""

    to: int
    until: float
    #: The platform has said that it did it; it may not have stopped the workers yet.
    done: bool = False
    #: It is the number of one-off workers, and all are on the roster. Not so where the ledger had
    #: lost its data, and was told of it anew.
    on_roster: bool = False


@dataclass(frozen=True)
class Refusal:
    """What the platform refused to do for the pool. Times are Redis', Unix (s)."""

    why: str
    at: float
    #: It is not asked again before.
    until: float
    #: It would run so many; None: it would do nothing at all.
    limit: int | None = None


@dataclass(frozen=True)
class Parked:
    """Scheduled tasks that lie in the queues, for no worker has room for them.

    Queues are worked off in order: when what was before them is finished, so that as many as
    *until* are, workers have come to them.
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
    #: ... and the one-off workers beside.
    one_offs: int = 0
    #: When the platform told of the quantity.
    quantity_at: float = 0.0
    published: int = 0
    finished: int = 0
    base_published: int = 0
    base_finished: int = 0
    count: Count | None = None
    #: Dead reckoning less the count, when it was taken.
    drift: int = 0
    buckets: Mapping[int, int] = field(default_factory=dict)
    #: The broker itself keeps scheduled tasks until they are due: till then they are in no queue.
    delayed: bool = False
    #: When a publisher last told of scheduled tasks.
    scheduled_at: float = 0.0
    parked: Parked = field(default_factory=Parked)
    #: Since when counts find tasks that nobody has told of, while scheduled ones are published.
    untold_since: float | None = None
    #: So many of them the last count has left aside.
    aside: int = 0
    cordon: Cordon = field(default_factory=Cordon)
    roster: Roster = field(default_factory=Roster)
    #: The one-off workers that are to go.
    leave: Cordon = field(default_factory=Cordon)
    fire: Sent | None = None
    hire: Sent | None = None
    #: When the quantity was last raised, until the boot that followed has been measured.
    raised_at: float | None = None
    #: A hire since which no new worker has been heard of.
    unheard: Unheard | None = None
    boot: float = BOOT_SECONDS
    #: The longest (s) that a task of the pool has taken.
    longest: float = 0.0
    last_refusal: Refusal | None = None
    #: What a person asked for, while it lasts.
    pause: Pause | None = None
    wish: Wish | None = None
    #: Workers that were up and not heard of when the platform was last asked, and since when.
    missed: Mapping[str, float] = field(default_factory=dict)
    missed_at: float = 0.0
    #: The workers that live and take nothing, though they should, and since when.
    deaf: Mapping[str, float] = field(default_factory=dict)

    @property
    def quantity(self) -> int | None:
        """How many workers there are to be; None where that is not known."""
        return None if self.formation is None else self.formation + self.one_offs

    @property
    def refusal(self) -> Refusal | None:
        """What the platform has refused, while it is not to be asked for it again."""
        last = self.last_refusal
        return last if last is not None and self.now < last.until else None

    @property
    def hire_failed(self) -> bool:
        """Whether there are to be workers of which something should have been heard by now."""
        if self.unheard is None or not self.quantity:
            return False
        return self.unheard.failed(self.now, self.boot)

    @property
    def hires_resume_at(self) -> float | None:
        """When (Unix, s) another worker may be hired, while the last hire has failed."""
        if self.unheard is None or not self.hire_failed:
            return None
        at = self.unheard.resumes_at(self.boot)
        return at if self.now < at else None

    @property
    def more_at_most(self) -> int | None:
        """So many workers may be hired now: none after a hire that failed, and one when the pause
        is over. None: as many as are needed, as from zero.
        """
        if not self.hire_failed:
            return None
        return 1 if self.hires_resume_at is None else 0

    @property
    def denied(self) -> Refusal | None:
        """What it refuses of what is needed: a limit that is not reached harms nobody."""
        refusal = self.refusal
        enough = refusal and refusal.limit is not None and self.needed <= refusal.limit
        return None if enough else refusal

    @property
    def outstanding(self) -> int:
        """Dead reckoning of the tasks that need a worker now."""
        return self._reckoned(self.now)

    @property
    def demand(self) -> int:
        """Tasks that need a worker now, or before one could be hired for them."""
        return self._reckoned(self.now + self.boot)

    @property
    def advice(self) -> Advice:
        """What the pool's policy says, within the limits."""
        return self.advised(self.demand)

    def advised(self, demand: int) -> Advice:
        """What it would say to so many tasks."""
        pool = self.pool
        advice = backlog(demand, pool.jobs_per_worker).beside(0 if pool.one_off else len(self.deaf))
        if self.wish is not None:
            advice = self.wish.heeded(advice)
        return advice.within(pool.min_workers, pool.max_workers)

    @property
    def needed(self) -> int:
        """Workers needed, within the limits."""
        return self.advice.workers

    @property
    def unsettled(self) -> int | None:
        """The quantity that a fire of unknown outcome may still lead to."""
        return self._fires.to if self._fires and not self._fires.done else None

    @property
    def stopping(self) -> int | None:
        """The quantity of a fire after which the platform may not have stopped them all yet."""
        return self._fires.to if self._fires and self._fires.done else None

    @property
    def wakes_at(self) -> float | None:
        """When (Unix, s) to evaluate again for what is not outstanding, or not over, yet."""
        now, by_now = self.now, self.now + self.boot
        # One boot time before its due time, and for what is nearer than that, then.
        future = [when for when in self.buckets if when > now]
        far = [when for when in future if when > by_now]
        ahead: list[float] = [min(future)] if future else []
        ahead += [min(far) - self.boot] if far else []
        if self.delayed:
            ahead += [at for at in map(self.falls_due_at, self.buckets) if at > now]
        if self.count is not None and self.count.restore_at is not None:
            ahead.append(self.count.restore_at)
        ends = (self.pause.until if self.pause else None, self.wish.until if self.wish else None)
        ahead += [at for at in ends if at is not None]
        return min(ahead, default=None)

    @property
    def fallen_due(self) -> dict[int, int]:
        """The scheduled tasks that are as if published by now, by bucket."""
        now = self.now
        past = {when: n for when, n in self.buckets.items() if when <= now}
        return {w: n for w, n in past.items() if self.falls_due_at(w) <= now} if past else past

    def falls_due_at(self, bucket: int) -> float:
        """When (Unix, s) the tasks of a bucket are as if published then.

        At its begin: by then they were in a queue, or workers held them. Where they come to the
        queue only when they are due, a count does not see them before the bucket's end.
        """
        return end_of(bucket) + HANDED_ON_WITHIN if self.delayed else bucket

    @property
    def scheduling(self) -> bool:
        """Whether scheduled tasks were told of so lately that they may be on their way still.

        Those told of since the last count may be parked as well: none has looked.
        """
        counted_at = self.count.at if self.count else self.now
        return self.scheduled_at > min(counted_at, self.now - TAKEN_WITHIN)

    @property
    def fire_denied(self) -> bool:
        """Whether a count of just now found more than was reckoned, and nobody was cordoned on it.

        Publishers keep their counts for a while: until they tell, another would find the same.
        """
        count = self.count
        lately = count is not None and self.now - count.at < RECOUNT_INTERVAL
        return lately and self.drift < 0 and not self.cordon

    @property
    def still_parked(self) -> int:
        """Scheduled tasks that no worker can have come to since they were seen to be parked."""
        return self.parked.tasks if self.finished <= self.parked.until else 0

    @property
    def held(self) -> int:
        """Scheduled tasks that workers held at the last count."""
        return self.count.scheduled - self.parked.tasks if self.count else 0

    def counted(self, count: Count, *, seen: bool, blind: bool = False) -> PoolState:
        """The state with a new count, in which parked tasks were *seen*, or else taken on trust.

        Of a *blind* one, where nobody consumes, what nobody has told of may be scheduled for later.
        While scheduled tasks are published it is left aside, for a count is always ahead of those
        who tell.
        """
        reckoned = self.outstanding
        untold = min(max(count.outstanding - reckoned, 0), count.waiting) if blind else 0
        since = (self.untold_since or count.at) if untold and self.scheduling else None
        aside = untold if since is not None and count.at - since < UNTOLD_FOR else 0
        if aside:
            count = replace(count, waiting=count.waiting - aside)
        until = self.finished + count.outstanding if seen else self.parked.until
        return replace(
            self,
            count=count,
            base_published=self.published,
            base_finished=self.finished,
            drift=reckoned - reckon(count, 0, 0, due_by(self.buckets, self.now)),
            parked=Parked(count.parked, until),
            untold_since=since,
            aside=aside,
        )

    @property
    def ceiling(self) -> int | None:
        """The quantity of a hire of unknown outcome: late, it would undo a higher one."""
        return self.hire.to if self.hire and self.now < self.hire.until else None

    @property
    def _fires(self) -> Sent | None:
        return self.fire if self.fire and self.now < self.fire.until else None

    def _reckoned(self, until: float) -> int:
        return reckon(
            self.count,
            self.published - self.base_published,
            self.finished - self.base_finished,
            due_by(self.buckets, until),
        )


def iso(at: float) -> str:
    """A Unix time (s) as people and other programs read it."""
    return datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds")
