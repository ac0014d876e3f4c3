"""How the ledger's state holds a pool: every field's name and form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from celery_middle_management.core.backoff import Unheard, heard_within
from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.deafness import deaf_workers
from celery_middle_management.core.due_times import fallen_due
from celery_middle_management.core.pool_state import (
    BOOT_SECONDS,
    BOOT_WEIGHT,
    Parked,
    PoolState,
    Refusal,
    Sent,
)
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.roster import Roster
from celery_middle_management.ledger.codec import (
    filled,
    pack_cordon,
    pack_count,
    pack_roster,
    unpack_cordon,
    unpack_count,
    unpack_pause,
    unpack_roster,
    unpack_suspicions,
    unpack_wish,
)
from celery_middle_management.ledger.model import Changes, Snapshot, millis


def read_pool(snapshot: Snapshot, pool: Pool, *, delayed: bool = False) -> PoolState:
    """The state of *pool*, whose scheduled tasks the broker may keep, *delayed*, until due."""

    def name(entry: str) -> str:
        return f"{pool.name}/{entry}"

    def number(entry: str) -> int:
        return int(snapshot.number(name(entry)))

    counted = snapshot.document(name("count"))
    fire = snapshot.document(name("fire"))
    hire = snapshot.document(name("hire"))
    refusal = snapshot.document(name("refusal"))
    missed = snapshot.document(name("missed"))
    unheard = snapshot.document(name("unheard"))
    quantity = number("quantity") if name("quantity") in snapshot.state else None
    formation = quantity if name("formation") not in snapshot.state else number("formation")
    return PoolState(
        pool=pool,
        now=snapshot.now,
        formation=None if quantity is None else formation,
        one_offs=(quantity or 0) - (formation or 0) if quantity is not None else 0,
        quantity_at=snapshot.time(name("quantity_at")),
        published=number("published"),
        finished=number("finished"),
        base_published=number("base_published"),
        base_finished=number("base_finished"),
        count=unpack_count(counted),
        drift=counted.get("drift", 0),
        buckets=snapshot.due.get(pool.name, {}),
        delayed=delayed,
        scheduled_at=snapshot.time(name("scheduled_at")),
        parked=filled(Parked, snapshot.document(name("parked"))),
        untold_since=snapshot.time(name("untold_since")) or None,
        cordon=unpack_cordon(snapshot.state.get(name("cordon"))),
        roster=unpack_roster(snapshot.document(name("roster"))),
        leave=unpack_cordon(snapshot.state.get(name("leave"))),
        fire=filled(Sent, fire) if fire else None,
        hire=filled(Sent, hire) if hire else None,
        raised_at=snapshot.time(name("raised_at")) or None,
        unheard=filled(Unheard, {"since": 0.0} | dict(unheard)) if unheard else None,
        boot=snapshot.number(name("boot"), BOOT_SECONDS),
        longest=snapshot.number(name("longest")),
        last_refusal=filled(Refusal, refusal) if refusal else None,
        pause=unpack_pause(snapshot.state.get("pause"), snapshot.now),
        wish=unpack_wish(snapshot.state.get(name("wish")), snapshot.now),
        missed=missed.get("since", {}),
        missed_at=missed.get("at", 0.0),
        deaf=_deaf(snapshot, pool),
    )


def _deaf(snapshot: Snapshot, pool: Pool) -> Mapping[str, float]:
    suspicions = unpack_suspicions(snapshot.state.get("deaf"))
    return deaf_workers(suspicions, snapshot.presences_of(pool.name), snapshot.now)


class Would(NamedTuple):
    """What a dry run has decided: from a quantity to another, or to stay, and whom to cordon."""

    quantity: int
    to: int
    cordon: Cordon
    #: When (Unix, s) a change was last written down.
    at: float


def read_would(snapshot: Snapshot, pool: Pool) -> Would | None:
    """What the last evaluation would have done, if it was a dry run that would have."""
    told = snapshot.document(f"{pool.name}/would")
    if not told:
        return None
    cordon = unpack_cordon(told.get("cordon"))
    return Would(told["quantity"], told["to"], cordon, told.get("at", 0.0))


class PoolWriter:
    """Turns what happened to a pool into changes of the ledger."""

    def __init__(self, state: PoolState, changes: Changes) -> None:
        self._pool = state.pool.name
        self._changes = changes

    def fall_due(self, state: PoolState) -> PoolState:
        """What has fallen due is as if published now."""
        past = fallen_due(state)
        if not past:
            return state
        tasks = sum(past.values())
        self._changes.add[self._name("published")] = tasks
        for when, n in past.items():
            self._add_due(when, -n)
        future = {when: n for when, n in state.buckets.items() if when not in past}
        return replace(state, published=state.published + tasks, buckets=future)

    def correct_due(self, state: PoolState, corrections: Mapping[int, int]) -> PoolState:
        """Bring the due times in line with what a count found."""
        if not corrections:
            return state
        for when, n in corrections.items():
            self._add_due(when, n)
        buckets = {
            w: state.buckets.get(w, 0) + corrections.get(w, 0)
            for w in {*state.buckets, *corrections}
        }
        return replace(state, buckets={w: n for w, n in buckets.items() if n > 0})

    def boot_measured(self, state: PoolState, first_since: float) -> PoolState:
        """The first worker since the last hire has come up."""
        if state.raised_at is None:
            return state
        # After a crash loop, it took as long as that lasted.
        took = min(first_since - state.raised_at, heard_within(state.boot))
        boot = state.boot + BOOT_WEIGHT * (took - state.boot)
        self._set("boot", f"{boot:.3f}")
        self._unset("raised_at")
        return replace(state, boot=boot, raised_at=None)

    def count(self, state: PoolState) -> None:
        """A count was taken."""
        count = state.count
        if count is None:
            return
        self._set("count", pack_count(count, state.drift))
        self._set("parked", json.dumps(asdict(state.parked)))
        if state.untold_since is None:
            self._unset("untold_since")
        else:
            self._set("untold_since", str(millis(state.untold_since)))
        # Who tells later of what was left aside tells of what is not in the count.
        if not state.aside:
            self._set("counted_at", str(millis(count.at)))
        self._set("base_published", str(state.base_published))
        self._set("base_finished", str(state.base_finished))

    def cordon(self, cordon: Cordon, why: str = "") -> None:
        """A cordon was drawn, and why; or with an empty one, lifted."""
        if cordon:
            self._set("cordon", pack_cordon(cordon))
            # Not in the document, in which the first releases know every field.
            self._set("cordon_why", why)
        else:
            self._unset("cordon")
            self._unset("cordon_why")

    def quantity(self, state: PoolState) -> None:
        """The platform said how many workers there are to be, or one-off ones came or went."""
        self._set("quantity", str(state.quantity))
        self._set("quantity_at", str(millis(state.quantity_at)))
        if state.one_offs:
            self._set("formation", str(state.formation))
        else:
            self._unset("formation")

    def roster(self, roster: Roster, leave: Cordon, why: str = "") -> None:
        """One-off workers came or went, or are to go, and *why* if others are than before."""
        if roster == Roster():
            self._unset("roster")
        else:
            self._set("roster", pack_roster(roster))
        if leave:
            self._set("leave", pack_cordon(leave))
            if why:
                self._set("leave_why", why)
        else:
            self._unset("leave")
            self._unset("leave_why")

    def raised(self, state: PoolState, now: float) -> PoolState:
        """Workers were hired."""
        unheard = state.unheard.again(now, state.boot) if state.unheard else Unheard(now)
        self._set("raised_at", str(millis(now)))
        self._set("unheard", json.dumps(vars(unheard)))
        return replace(state, unheard=unheard)

    def heard(self, state: PoolState) -> PoolState:
        """A worker has come up since they were."""
        self._unset("unheard")
        return replace(state, unheard=None)

    def firing(self, to: int, until: float, done: bool = False) -> None:
        """A lowering is about to be sent, or was *done*; it can take effect until *until*."""
        self._set("fire", json.dumps({"to": to, "until": until, "done": done}))

    def hiring(self, to: int, until: float, *, on_roster: bool = False) -> None:
        """A raise is about to be sent; it can take effect until *until*."""
        known = {"on_roster": True} if on_roster else {}
        self._set("hire", json.dumps({"to": to, "until": until, **known}))

    def fire_settled(self) -> None:
        """No lowering can take effect any more."""
        self._unset("fire")

    def hire_settled(self, state: PoolState) -> None:
        """The raise took effect, or cannot; one sent before it still may."""
        if state.hire is not None and state.ceiling is not None:
            self.hiring(state.hire.to, state.hire.until, on_roster=state.hire.on_roster)
        else:
            self.hire_over()

    def hire_over(self) -> None:
        """No raise can take effect any more."""
        self._unset("hire")

    def refused(self, refusal: Refusal) -> None:
        """The platform has refused something."""
        self._set("refusal", json.dumps(vars(refusal)))
        self._set("refused_until", str(millis(refusal.until)))

    def missed(self, since: Mapping[str, float], at: float) -> None:
        """The platform says that these are up, and nothing has been heard of them."""
        if since:
            self._set("missed", json.dumps({"since": since, "at": at}))
        else:
            self._unset("missed")

    def quantity_unknown(self) -> None:
        """The platform knows no such pool."""
        self._unset("quantity")

    def action(self, entry: Mapping[str, Any]) -> None:
        """The quantity was changed."""
        self._set("last_action", json.dumps(entry))
        self._changes.history.append(json.dumps({"pool": self._pool, **entry}))

    def by_hand(self, entry: Mapping[str, Any]) -> None:
        """Another has changed the quantity."""
        self._set("by_hand", json.dumps(entry))
        self._changes.history.append(json.dumps({"pool": self._pool, **entry}))

    def would(self, would: Would) -> None:
        """A dry run has decided this."""
        told = {**would._asdict(), "cordon": pack_cordon(would.cordon)}
        self._set("would", json.dumps(told))

    def _name(self, entry: str) -> str:
        return f"{self._pool}/{entry}"

    def _set(self, entry: str, value: str) -> None:
        name = self._name(entry)
        self._changes.set[name] = value
        self._changes.unset.pop(name, None)

    def _unset(self, entry: str) -> None:
        name = self._name(entry)
        self._changes.set.pop(name, None)
        self._changes.unset[name] = None

    def _add_due(self, when: int, tasks: int) -> None:
        name = f"{self._pool}/{when}"
        self._changes.due[name] = self._changes.due.get(name, 0) + tasks
