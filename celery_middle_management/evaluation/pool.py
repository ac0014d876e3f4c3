"""One pool in the course of an evaluation: what is known of it, and what was decided.

What changes is put into the evaluation's changes of the ledger, and written with them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from celery_middle_management.core.decision import Decision, EarlierCalls, Situation, decide
from celery_middle_management.core.fleet import BOOT_GRACE
from celery_middle_management.core.limit_search import Search
from celery_middle_management.core.pool_state import RECOUNT_INTERVAL, Refusal, iso
from celery_middle_management.core.timing import LOCK_SECONDS
from celery_middle_management.core.trouble import Trouble
from celery_middle_management.evaluation.counted import CountedPool
from celery_middle_management.platforms.base import Listing, OneOff, PlatformError, Refused

logger = logging.getLogger("celery_middle_management")

#: What the platform has refused for a pool is not asked for again before this time (s).
REFUSED_FOR = 60.0
#: While workers drain, look again after this time (s); never sooner.
DRAIN_INTERVAL = 1.0


class PoolEvaluation(CountedPool):
    """What is decided for one pool, and what becomes of it."""

    decision: Decision | None = None
    _search: Search | None = None

    def settle(self) -> bool:
        """Forget what was sent and can take effect no more.

        Returns whether nobody heard what became of it: then the quantity is not known.
        """
        state = self.state
        if state.hire is not None and state.ceiling is None:
            self._writer.hire_settled(state)
        if state.fire is None or state.unsettled is not None or state.stopping is not None:
            return False
        self._writer.fire_settled()
        return not state.fire.done

    @property
    def worth_counting(self) -> bool:
        """Whether a count may let something be fired."""
        wanted = self.decision is not None and self.decision.wants_count
        wanted = wanted or (self.one_offs is not None and self.one_offs.choice.wants_count)
        return wanted and not self.state.fire_denied and not self.count_failed

    # -- the decision

    def decide(self, *, may_call: bool, blocked: bool) -> None:
        """Decide on what is known now; without a known quantity, nothing."""
        formation = self.state.formation
        if formation is None:
            return
        refusal = self.state.refusal
        blocked = blocked or (refusal is not None and refusal.limit is None)
        self.decision = self._decide(self._situation(formation, may_call=may_call, blocked=blocked))
        if self.one_offs is not None:
            work, fresh = sum(p.busy for p in self.fleet.living), self._fresh
            self.one_offs.decide(self.state, work, fresh=fresh, may_call=may_call, blocked=blocked)

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
            fresh=self._fresh,
            may_call=may_call,
            blocked=blocked,
            earlier=EarlierCalls(
                unconfirmed_fire=state.unsettled,
                stopping=state.stopping,
                # A hire of one-off workers stops none.
                unconfirmed_hire=None if self.pool.one_off and not quantity else state.ceiling,
                hire_limit=self._limit,
            ),
            drain_timeout=self._settings.drain_timeout,
        )

    @property
    def _limit(self) -> int | None:
        """Beyond which the formation is not raised now."""
        refusal, state = self.state.refusal, self.state
        limits = [refusal.limit if refusal else None]
        if state.more_at_most is not None:
            limits.append(max((state.formation or 0) + state.more_at_most, self._share[1]))
        return min((limit for limit in limits if limit is not None), default=None)

    @property
    def trouble(self) -> Iterator[tuple[str, Trouble]]:
        """Trouble with the pool's workers, by its kind."""
        state = self.state
        if state.unheard and state.hire_failed:
            look = "its log"
            if self._settings.platform == "heroku":
                app = f" -a {self._settings.heroku.app}" if self._settings.heroku else ""
                look = f"`heroku logs --ps {next(iter(self.fleet.names(1)), self.pool.name)}{app}`"
            what = state.unheard.said(state.quantity or 0, look)
            yield f"unheard {self.pool.name}", Trouble(what, state.unheard.since, self.pool.name)
        for kind, what in self.one_offs.trouble if self.one_offs else ():
            yield kind, Trouble(what, state.now, self.pool.name)

    @property
    def _share(self) -> tuple[int, int, int]:
        """What the quantity is to be, and its limits: beside those who are hired one by one."""
        pool, state = self.pool, self.state
        if self.one_offs is None:
            return state.needed, pool.min_workers, pool.max_workers
        if pool.one_off:
            return 0, 0, pool.max_workers
        rest = state.advised(max(state.demand - self.one_offs.work, 0)).workers
        most = max(pool.max_workers - len(self.one_offs.roster.members), 0)
        return min(rest, most), 0, most

    @property
    def hires(self) -> int:
        """How many to hire one by one."""
        return self.one_offs.choice.hires if self.one_offs and self.decision else 0

    @property
    def hired_names(self) -> frozenset[str]:
        """Everyone's who was hired one by one, as far as they are known."""
        return self.one_offs.roster.names if self.one_offs is not None else frozenset()

    @property
    def wants_list(self) -> bool:
        """Whether nobody can be hired before it is known who is there."""
        return self.one_offs is not None and self.one_offs.choice.wants_list

    @property
    def list_due(self) -> bool:
        """Whether the platform may know more of somebody who is not heard of."""
        return self.one_offs is not None and self.one_offs.roster.asks_now(self.state.now)

    @property
    def change(self) -> int | None:
        """The quantity to set, if any."""
        return self.decision.quantity if self.decision else None

    def write_decision(self) -> None:
        """Write down what is decided, before it is done."""
        if self.one_offs is not None:
            self.one_offs.write_choice()
            before = self.state.quantity
            if self.one_offs.quantity < self.state.one_offs:
                after = (before or 0) - self.state.one_offs + self.one_offs.quantity
                self._record("fire", after, self.state.now)
            self._count_one_offs()
        if self.decision is not None and self.decision.cordon != self.state.cordon:
            self._writer.cordon(self.decision.cordon, self.state.advice.why)
            held, holds = ({*c.since} for c in (self.state.cordon, self.decision.cordon))
            for what, names in (("uncordon", held - holds), ("cordon", holds - held)):
                if names:
                    self._log(what, f"workers={','.join(sorted(names))}")

    def _log(self, what: str, how: str) -> None:
        """One line for each decision, with keys and values that a log search can use."""
        logger.info("%s pool=%s %s", what, self.pool.name, how)

    # -- the change of the quantity

    def lowers_to(self, quantity: int) -> bool:
        """Whether it is a fire to set *quantity*."""
        return quantity < (self.state.formation or 0)

    def announce(self, quantity: int, at: float) -> None:
        """A successor must know what may still take effect, if we die before the answer.

        Whoever somebody hires by hand above it takes no tasks until then, for it would stop him.

        Every decision keeps the quantity within the limits; it is asserted here, for real money
        hangs on it.
        """
        _, least, most = self._share
        if not least <= quantity <= most:
            raise AssertionError(
                f"{quantity} workers for pool {self.pool.name!r}, allowed are {least} to {most}"
            )
        self._sent(quantity, at + LOCK_SECONDS + self.fleet.traits.takes_effect_within)
        cordon = self.decision.cordon if self.decision else self.state.cordon
        if not self.fleet.unordered and (cordon.above is None or cordon.above > quantity):
            fleet = self.fleet
            names_of_all = fleet.names(quantity)
            drawn = cordon.move(quantity, cordon.names, names_of_all, fleet.now, fleet.traits)
            self._writer.cordon(drawn, self.state.advice.why)

    def answered(self, quantity: int, outcome: int | PlatformError, at: float) -> int | None:
        """What became of *quantity*, which was announced; returns what to ask for next, if any."""
        if isinstance(outcome, PlatformError) and not outcome.settled:
            self._sent(quantity, at + self.fleet.traits.takes_effect_within)
            return None
        if self.decision is not None:
            self._writer.cordon(self.decision.cordon, self.state.advice.why)
        if not isinstance(outcome, PlatformError):
            self._done(quantity, outcome, at)
            if self._search is not None:
                self._search = replace(self._search, allowed=outcome)
            return self._look_further()
        self._not_done(quantity)
        if isinstance(outcome, Refused):
            self._refused(outcome)
            # Not after a hire of unknown outcome: one to fewer may be done last, and stop workers.
            searches = self.state.ceiling is None and not self.lowers_to(quantity)
            if searches and not outcome.unknown:
                search = self._search or Search(self.state.formation or 0, quantity, outcome.limit)
                self._search = replace(search, refused=quantity)
        return self._look_further()

    def _look_further(self) -> int | None:
        """What to ask for next where the platform runs fewer than are needed."""
        if self._search is None:
            return None
        if self.state.last_refusal is not None:
            refusal = replace(self.state.last_refusal, limit=self._search.allowed)
            self.state = replace(self.state, last_refusal=refusal)
            self._writer.refused(refusal)
        return self._search.next(self.pool.min_workers)

    def _refused(self, error: Refused, limit: int | None = None) -> None:
        """The platform does nothing for this pool, or nothing beyond a *limit*."""
        now = self.state.now
        refusal = Refusal(str(error), now, now + REFUSED_FOR, limit)
        self.state = replace(self.state, last_refusal=refusal)
        self._writer.refused(refusal)

    def _sent(self, quantity: int, until: float) -> None:
        if self.lowers_to(quantity):
            self._writer.firing(quantity, until)
        else:
            self._writer.hiring(quantity, until)

    def _not_done(self, quantity: int) -> None:
        if self.lowers_to(quantity):
            self._writer.fire_settled()
        else:
            self._writer.hire_settled(self.state)

    def _done(self, asked: int, quantity: int, at: float) -> None:
        state, action = self.state, "fire" if self.lowers_to(asked) else "hire"
        if action == "fire":
            self._writer.firing(quantity, at + self.fleet.traits.stops_within, done=True)
        else:
            self._writer.hire_settled(state)
            self.state = state = self._writer.raised(state, at)
        self._record(action, quantity + state.one_offs, at)
        self._learn_quantity(quantity)

    def _record(self, action: str, to: int, at: float, **more: bool) -> None:
        before, reason = self.state.quantity or 0, self.state.advice.why
        wall = iso(at - self._clock_offset)
        self._writer.action(
            {"at": wall, "action": action, "from": before, "to": to, "reason": reason, **more}
        )
        would = "would " if more else ""
        self._log(f"{would}{action}", f"from={before} to={to} reason={json.dumps(reason)}")

    # -- what the platform says

    def learn(self, answer: int | Refused) -> None:
        """How many workers there are to be, or that there is no such pool."""
        if isinstance(answer, Refused):
            self._refused(answer)
            self.state = replace(self.state, formation=None)
            self.decision = None
            self._writer.quantity_unknown()
        else:
            self._find_by_hand(answer)
            self._learn_quantity(answer)

    def _find_by_hand(self, quantity: int) -> None:
        """Tell of a quantity that nothing of ours has led to, nor may have."""
        before, ours = self.state.formation, self.state.hire or self.state.fire
        if ours or before in (None, quantity):
            return
        told = {"at": iso(self.state.now - self._clock_offset), "from": before, "to": quantity}
        self._writer.by_hand({"action": "by hand", **told})
        self._log("by hand", f"from={before} to={quantity}")

    def _learn_quantity(self, quantity: int) -> None:
        at = self.state.now
        self.state = replace(self.state, formation=quantity, quantity_at=at)
        self.fleet = replace(self.fleet, quantity=quantity, quantity_at=at)
        self._writer.quantity(self.state)

    def learn_listed(self, listing: Listing, elsewhere: Collection[str]) -> None:
        """Who of those that are hired one by one is there; some may be *elsewhere*'s."""
        if self.one_offs is None:
            return
        pause = self.one_offs.learn(listing, elsewhere)
        hire = self.state.hire
        if self.pool.one_off and self.state.ceiling is not None and hire and not hire.on_roster:
            self.one_offs.expect(hire.to, hire.until)
            self.state = replace(self.state, hire=replace(hire, on_roster=True))
            self._remember_hires()
        if pause is not None:
            self.state = replace(self.state, last_refusal=pause)
            self._writer.refused(pause)
        self._count_one_offs()

    def _count_one_offs(self) -> None:
        if self.one_offs is None or self.one_offs.quantity == self.state.one_offs:
            return
        self.state = replace(self.state, one_offs=self.one_offs.quantity)
        if self.state.formation is not None:
            self._writer.quantity(self.state)

    def announce_hires(self, at: float) -> list[str]:
        """The ids of those to be hired one by one, which a successor must know of."""
        if self.one_offs is None:
            return []
        formation = self.state.formation or 0
        ids = self.one_offs.announce(at, formation)
        self._remember_hires()
        return ids

    def _remember_hires(self) -> None:
        """Should the ledger lose its data, all that report know how many there may be."""
        if self.one_offs is None:
            return
        until = self.one_offs.roster.unanswered_until
        if until is None:
            self._writer.hire_over()
        else:
            self._writer.hiring(len(self.one_offs.roster.members), until, on_roster=True)

    def hired(self, outcomes: Mapping[str, OneOff | PlatformError], at: float) -> None:
        """What became of each of those."""
        if self.one_offs is None:
            return
        before = self.state.quantity or 0
        self.one_offs.record_answers(outcomes, at)
        self._remember_hires()
        if refused := [e for e in outcomes.values() if isinstance(e, Refused)]:
            self._refused(refused[0], limit=len(self.one_offs.roster.members))
        if self.one_offs.quantity > self.state.one_offs:
            self.state = self._writer.raised(self.state, at)
            self._record("hire", before + self.one_offs.quantity - self.state.one_offs, at)
        self._count_one_offs()

    @property
    def lacks_workers(self) -> bool:
        """Whether somebody should have come up of whom nothing is heard."""
        state = self.state
        heard = {p.name for p in self.fleet.living if not p.silent(state.now)}
        booting = state.raised_at is not None and state.now - state.raised_at < BOOT_GRACE
        return len(heard) < (state.formation or 0) and not booting

    def learn_running(self, running: Collection[str]) -> Collection[str]:
        """Which workers are starting or up; returns those never heard of, though they should be."""
        state = self.state
        self.fleet = replace(self.fleet, running=running)
        since = {name: state.missed.get(name, state.now) for name in sorted(self.fleet.unheard)}
        self.state = replace(state, missed=since, missed_at=state.now)
        self._writer.missed(since, state.now)
        return [name for name, at in since.items() if state.now - at >= BOOT_GRACE]

    # -- what comes next

    def waits(self, callable_at: float, *, blocked: bool) -> Iterator[float]:
        """Seconds after which this pool wants to be looked at again.

        The platform may be called from *callable_at* on.
        """
        state, decision = self.state, self.decision
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
            yield state.count.at + self._count_lasts - state.now
        wakes_at = state.wakes_at
        if wakes_at is not None:
            yield wakes_at - state.now
