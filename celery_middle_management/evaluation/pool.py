"""An evaluation's decision on one pool, and when the pool must be evaluated again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from celery_middle_management.core.decision import Decision, EarlierCalls, Situation, decide
from celery_middle_management.core.due_times import wakes_at
from celery_middle_management.core.pool_count import nothing_new
from celery_middle_management.core.pool_state import RECOUNT_INTERVAL
from celery_middle_management.core.trouble import Trouble
from celery_middle_management.evaluation.agreement import newest_maximum
from celery_middle_management.evaluation.counted import CountedPool
from celery_middle_management.evaluation.one_off_hires import OneOffHires
from celery_middle_management.evaluation.quantity_call import QuantityCall
from celery_middle_management.platforms.base import Refused

#: The time (s) between evaluations while workers drain. No two evaluations are closer together.
DRAIN_INTERVAL = 1.0
#: A process that leaves the decision to another one leaves it this long (s) to evaluate.
DEFER_INTERVAL = 2.0


class PoolEvaluation(CountedPool):
    """The decision on one pool."""

    decision: Decision | None = None
    #: True if the decision is left to processes of a newer release.
    defers = False

    @cached_property
    def call(self) -> QuantityCall:
        """The calls that carry out a decision on the quantity."""
        return QuantityCall(self)

    @cached_property
    def hires(self) -> OneOffHires | None:
        """The hires of one-off workers, if there may be any."""
        return OneOffHires(self, self.one_offs) if self.one_offs is not None else None

    def forget_settled_calls(self) -> bool:
        """Forget calls that cannot take effect any more.

        Returns True if the outcome of a call is unknown: the quantity must be read again.
        """
        state = self.state
        if state.hire is not None and state.ceiling is None:
            self.writer.hire_settled(state)
        if state.fire is None or state.unsettled is not None or state.stopping is not None:
            return False
        self.writer.fire_settled()
        return not state.fire.done

    def record_quantity(self, answer: int | Refused) -> None:
        super().record_quantity(answer)
        if self.state.formation is None:
            self.decision = None

    # -- the decision

    def decide(self, *, may_call: bool, blocked: bool, outdated: bool = False) -> None:
        """Decide from what is known now; decide nothing if the quantity is unknown.

        If the settings may be *outdated*, only help a pool that has no worker of the newest
        release: hire one for what waits, which then decides by its own settings.
        """
        formation = self.state.formation
        if formation is None:
            return
        renewed = formation > 0 or (self.one_offs is not None and self.one_offs.roster.renewed)
        self.defers = outdated and renewed
        most = 1 if outdated else self.pool.max_workers
        if outdated:
            maximum = min(newest_maximum(self.pool, self._snapshot), self.pool.max_workers)
            known = replace(self.state.pool, min_workers=0, max_workers=maximum)
            self.state = replace(self.state, pool=known)
        refusal = self.state.refusal
        blocked = blocked or (refusal is not None and refusal.limit is None)
        situation = self._situation(formation, may_call=may_call, blocked=blocked)
        if outdated:
            situation = replace(situation, needed=min(situation.needed, most))
        self.decision = None if self.defers else self._decide(situation)
        if self.one_offs is not None:
            work = sum(p.busy for p in self.fleet.living)
            self.one_offs.decide(
                *(self.state, work),
                fresh=self.fresh,
                may_call=may_call,
                blocked=blocked,
                most=None if self.defers else most,
            )

    def _decide(self, situation: Situation) -> Decision:
        return decide(situation)

    def _situation(self, quantity: int, *, may_call: bool, blocked: bool) -> Situation:
        state = self.state
        needed, least, most = self._share
        return Situation(
            minimum=least,
            maximum=most,
            quantity=quantity,
            needed=state.pause.held(needed, quantity) if state.pause else needed,
            fleet=self.fleet,
            cordon=state.cordon,
            fresh=self.fresh,
            may_call=may_call,
            blocked=blocked,
            earlier=EarlierCalls(
                unconfirmed_fire=state.unsettled,
                stopping=state.stopping,
                # Hiring one-off workers never stops a worker.
                unconfirmed_hire=None if self.pool.one_off and not quantity else state.ceiling,
                hire_limit=self._hire_limit,
            ),
            drain_timeout=self._settings.drain_timeout,
        )

    @property
    def _hire_limit(self) -> int | None:
        """The quantity beyond which the formation must not be raised now, if there is one."""
        refusal, state = self.state.refusal, self.state
        limits = [refusal.limit if refusal else None]
        if state.more_at_most is not None:
            limits.append(max((state.formation or 0) + state.more_at_most, self._share[1]))
        return min((limit for limit in limits if limit is not None), default=None)

    @property
    def _share(self) -> tuple[int, int, int]:
        """How many workers the formation needs, and its limits, given the one-off workers."""
        pool, state = self.pool, self.state
        if self.one_offs is None:
            return state.needed, pool.min_workers, pool.max_workers
        if pool.one_off:
            return 0, 0, pool.max_workers
        rest = state.advised(max(state.demand - self.one_offs.work, 0)).workers
        most = max(pool.max_workers - len(self.one_offs.roster.members), 0)
        return min(rest, most), 0, most

    @property
    def worth_counting(self) -> bool:
        """True if a count may allow a fire."""
        wanted = self.decision is not None and self.decision.wants_count
        wanted = wanted or (self.one_offs is not None and self.one_offs.choice.wants_count)
        return wanted and not nothing_new(self.state) and not self.count_failed

    @property
    def change(self) -> int | None:
        """The quantity to set, if any."""
        return self.decision.quantity if self.decision else None

    def write_decision(self) -> None:
        """Write the decision down, before it is carried out."""
        if self.one_offs is not None and self.hires is not None:
            self.one_offs.write_choice()
            self.hires.write_fires()
        if self.decision is None or self.decision.cordon == self.state.cordon:
            return
        self.writer.cordon(self.decision.cordon, self.state.advice.why)
        before, after = ({*c.since} for c in (self.state.cordon, self.decision.cordon))
        for action, names in (("uncordon", before - after), ("cordon", after - before)):
            if names:
                self.log.line(action, f"workers={','.join(sorted(names))}")

    def announce(self, quantity: int, at: float) -> None:
        """Write that *quantity* is about to be sent to the platform.

        Every decision keeps it within the limits; this is asserted here because real money depends
        on it.
        """
        _, least, most = self._share
        if not least <= quantity <= most:
            raise AssertionError(
                f"{quantity} workers for pool {self.pool.name!r}; {least} to {most} are allowed"
            )
        cordon = self.decision.cordon if self.decision else self.state.cordon
        self.call.announce(quantity, cordon, at)

    # -- what comes next

    @property
    def trouble(self) -> Iterator[tuple[str, Trouble]]:
        """The kind and the details of each trouble with the pool's workers."""
        state = self.state
        if state.unheard and state.hire_failed:
            look = "its log"
            if self._settings.platform == "heroku":
                app = f" -a {self._settings.heroku.app}" if self._settings.heroku else ""
                look = f"`heroku logs --ps {_unheard_name(self)}{app}`"
            what = state.unheard.said(state.quantity or 0, look)
            yield f"unheard {self.pool.name}", Trouble(what, state.unheard.since, self.pool.name)
        for kind, what in self.one_offs.trouble if self.one_offs else ():
            yield kind, Trouble(what, state.now, self.pool.name)

    def waits(self, callable_at: float, *, blocked: bool) -> Iterator[float]:
        """Yield the seconds after which this pool must be evaluated again.

        The platform may be called from *callable_at* on.
        """
        state, decision = self.state, self.decision
        if self.defers:
            yield DEFER_INTERVAL
            return
        if decision is None or decision.suppressed or (decision.quantity is not None and blocked):
            refused_until = state.refusal.until if state.refusal else 0.0
            yield max(callable_at, refused_until, state.hires_resume_at or 0.0) - state.now
        if state.unheard and not state.hire_failed:
            yield state.unheard.fails_at(state.boot) - state.now
        if decision is not None and decision.draining:
            yield DRAIN_INTERVAL
        if self.one_offs is not None:
            yield from self.one_offs.waits(callable_at)
        if self.count_failed:
            yield RECOUNT_INTERVAL
        elif state.count is not None:
            yield state.count.at + self.count_lasts - state.now
        if state.advice.again is not None:
            yield state.advice.again
        at = wakes_at(state)
        if at is not None:
            yield at - state.now


def _unheard_name(pool: PoolEvaluation) -> str:
    """Return the name of a worker that has not reported, as Heroku's command line knows it."""
    if not pool.pool.one_off or pool.one_offs is None:
        return next(iter(pool.fleet.names(1)), pool.pool.name)
    members = pool.one_offs.roster.members.values()
    return next((m.name for m in members if m.name and not m.since), "run")
