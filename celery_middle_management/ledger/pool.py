"""Writes a pool into the ledger's state, whose fields :mod:`.pool_reading` reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from celery_middle_management.core.backoff import Unheard, heard_within
from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.due_times import fallen_due
from celery_middle_management.core.pool_state import (
    BOOT_WEIGHT,
    PoolState,
    Refusal,
)
from celery_middle_management.core.roster import Roster
from celery_middle_management.core.stuck import stuck_since
from celery_middle_management.ledger.codec import (
    pack_cordon,
    pack_count,
    pack_pace,
    pack_roster,
)
from celery_middle_management.ledger.model import Changes
from celery_middle_management.ledger.pool_fields import PoolChanges
from celery_middle_management.ledger.pool_reading import Would


class PoolWriter:
    """Adds what happens to a pool to the changes, with a method for each kind of event."""

    def __init__(self, state: PoolState, changes: Changes) -> None:
        self._its = PoolChanges(state.pool.name, changes)

    def fall_due(self, state: PoolState) -> PoolState:
        """Treat tasks that have fallen due as published now, and return the new state."""
        past = fallen_due(state)
        if not past:
            return state
        tasks = sum(past.values())
        self._its.add("published", tasks)
        for when, n in past.items():
            self._its.add_due(when, -n)
        future = {when: n for when, n in state.buckets.items() if when not in past}
        return replace(state, published=state.published + tasks, buckets=future)

    def correct_due(self, state: PoolState, corrections: Mapping[int, int]) -> PoolState:
        """Correct the due times by what a count found, and return the new state."""
        if not corrections:
            return state
        for when, n in corrections.items():
            self._its.add_due(when, n)
        buckets = {
            w: state.buckets.get(w, 0) + corrections.get(w, 0)
            for w in {*state.buckets, *corrections}
        }
        return replace(state, buckets={w: n for w, n in buckets.items() if n > 0})

    def boot_measured(self, state: PoolState, first_since: float) -> PoolState:
        """Measure a boot: *first_since* (Unix, s) is when the first worker since a hire came up."""
        if state.raised_at is None:
            return state
        # Capped: after a crash loop, the difference is how long the loop lasted.
        took = min(first_since - state.raised_at, heard_within(state.boot))
        boot = state.boot + BOOT_WEIGHT * (took - state.boot)
        self._its.set("boot", f"{boot:.3f}")
        self._its.unset("raised_at")
        return replace(state, boot=boot, raised_at=None)

    def pace(self, state: PoolState) -> None:
        """Write the pace."""
        self._its.set("pace", pack_pace(state.pace))

    def count(self, state: PoolState) -> None:
        """Write the last count, if there is one."""
        count = state.count
        if count is None:
            return
        self._its.set("count", pack_count(count, state.drift))
        self._its.set_document("parked", asdict(state.parked))
        if state.untold_since is None:
            self._its.unset("untold_since")
        else:
            self._its.set_time("untold_since", state.untold_since)
        # Tasks that are set aside are not in the count, and will be reported later.
        if not state.aside:
            self._its.set_time("counted_at", count.at)
        self._its.set("base_published", str(state.base_published))
        self._its.set("base_finished", str(state.base_finished))

    def cordon(self, cordon: Cordon, why: str = "") -> None:
        """Write that a cordon was set, and why; or that it was lifted, if *cordon* is empty."""
        if cordon:
            self._its.set("cordon", pack_cordon(cordon))
            # Not in the document: the first releases fail on a field that they do not know.
            self._its.set("cordon_why", why)
        else:
            self._its.unset("cordon")
            self._its.unset("cordon_why")

    def quantity(self, state: PoolState) -> None:
        """Write how many workers there should be: in all, and in the formation alone."""
        self._its.set("quantity", str(state.quantity))
        self._its.set_time("quantity_at", state.quantity_at)
        if state.one_offs:
            self._its.set("formation", str(state.formation))
        else:
            self._its.unset("formation")

    def roster(self, roster: Roster, leave: Cordon, why: str = "") -> None:
        """Write the one-off workers, those that must leave, and *why* if the latter changed."""
        if roster == Roster():
            self._its.unset("roster")
        else:
            self._its.set("roster", pack_roster(roster))
        if leave:
            self._its.set("leave", pack_cordon(leave))
            if why:
                self._its.set("leave_why", why)
        else:
            self._its.unset("leave")
            self._its.unset("leave_why")

    def raised(self, state: PoolState, now: float) -> PoolState:
        """Write that workers were hired, and return the new state."""
        unheard = state.unheard.again(now, state.boot) if state.unheard else Unheard(now)
        self._its.set_document("unheard", vars(unheard))
        since = state.raised_at
        # The first worker to come up is of the first hire: boots can take longer than it takes
        # until the next one.
        if since is None or now - since > heard_within(state.boot):
            since = now
            self._its.set_time("raised_at", since)
        return replace(state, unheard=unheard, raised_at=since)

    def heard(self, state: PoolState) -> PoolState:
        """Write that a worker has reported since the last hire, and return the new state."""
        self._its.unset("unheard")
        return replace(state, unheard=None)

    def firing(self, to: int, until: float, done: bool = False) -> None:
        """Announce a fire, which can take effect until *until*; or write that it was *done*."""
        self._its.set_document("fire", {"to": to, "until": until, "done": done})

    def hiring(self, to: int, until: float, *, on_roster: bool = False) -> None:
        """Announce a hire, which can take effect until *until*."""
        known = {"on_roster": True} if on_roster else {}
        self._its.set_document("hire", {"to": to, "until": until, **known})

    def fire_settled(self) -> None:
        """Write that no fire can take effect any more."""
        self._its.unset("fire")

    def hire_settled(self, state: PoolState) -> None:
        """Write that the last hire took effect or no longer can; an earlier one still may."""
        if state.hire is not None and state.ceiling is not None:
            self.hiring(state.hire.to, state.hire.until, on_roster=state.hire.on_roster)
        else:
            self.hire_over()

    def hire_over(self) -> None:
        """Write that no hire can take effect any more."""
        self._its.unset("hire")

    def refused(self, refusal: Refusal) -> None:
        """Write that the platform has refused something."""
        self._its.set_document("refusal", vars(refusal))
        self._its.set_time("refused_until", refusal.until)

    def missed(self, since: Mapping[str, float], at: float) -> None:
        """Write which workers are up but have not reported, and since when."""
        if since:
            self._its.set_document("missed", {"since": since, "at": at})
        else:
            self._its.unset("missed")

    def stuck(self, state: PoolState, *, anew: bool = False) -> PoolState:
        """Write since when the pool has been stuck at its maximum, and return the new state.

        *anew*: what the ledger has is out of date.
        """
        since = stuck_since(replace(state, stuck_since=None) if anew else state)
        if since == state.stuck_since and not anew:
            return state
        if since is None:
            self._its.unset("stuck_since")
        else:
            self._its.set_time("stuck_since", since)
        return replace(state, stuck_since=since)

    def quantity_unknown(self) -> None:
        """Write that the platform does not know the pool."""
        self._its.unset("quantity")

    def action(self, entry: Mapping[str, Any]) -> None:
        """Write that we changed the quantity, or would have in a dry run."""
        self._its.set_document("last_action", entry)
        if not entry.get("dry_run"):
            counter = {"hire": "hired", "fire": "fired"}[entry["action"]]
            self._its.add(counter, abs(entry["to"] - entry["from"]))
        self._its.add_history(entry)

    def by_hand(self, entry: Mapping[str, Any]) -> None:
        """Write that the quantity was changed by hand, or by another program."""
        self._its.set_document("by_hand", entry)
        self._its.add_history(entry)

    def would(self, would: Would) -> None:
        """Write the decision of a dry run."""
        told = {**would._asdict(), "cordon": pack_cordon(would.cordon)}
        self._its.set_document("would", told)
