"""The one-off workers of one pool in the course of an evaluation."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from celery_middle_management.core.choice import Choice, Hands, Member, choose
from celery_middle_management.core.pool_state import PoolState, Refusal
from celery_middle_management.core.presence import Presence
from celery_middle_management.core.roster import (
    APPEARS,
    ASKS_AFTER,
    LAST_CALL,
    LIFETIME,
    crash_pause,
)
from celery_middle_management.core.timing import LOCK_SECONDS
from celery_middle_management.core.traits import ONE_OFF
from celery_middle_management.ledger.codec import cordon_field, pack_cordon, unpack_cordon
from celery_middle_management.ledger.model import Snapshot
from celery_middle_management.ledger.pool import PoolWriter
from celery_middle_management.platforms.base import Listing, OneOff, PlatformError

logger = logging.getLogger("celery_middle_management")

#: Why a worker is to go that others take the place of.
REPLACED = "it is replaced: of an older release, near the end of its day, or deaf"


class OneOffs:
    """The roster, brought up to date as the evaluation learns of it."""

    def __init__(
        self, state: PoolState, presences: Collection[Presence], writer: PoolWriter
    ) -> None:
        self._pool = state.pool
        self._now = state.now
        self._presences = presences
        self._writer = writer
        self._written = state.roster, state.leave
        self._leave = state.leave
        self._ids: Mapping[str, str] = {}
        self._listed = False
        self._refused_until = 0.0
        self._retired = frozenset[str]()
        self._why = ""
        self.roster = state.roster.heard(presences, state.leave, state.now)
        self.choice = Choice(state.leave)

    # -- who is there

    @property
    def quantity(self) -> int:
        """How many there are that were not told to go."""
        return sum(not m.leaves for m in self._members)

    @property
    def total(self) -> int:
        """How many there may be."""
        return len(self.roster.members)

    @property
    def work(self) -> int:
        """The tasks that they have, as far as that is known."""
        return sum(m.tasks for m in self._members if not m.leaves)

    @property
    def gone(self) -> list[Presence]:
        """Workers that surely have no process any more."""
        return [p for p in self._silent if self._listed and p.name not in self.names]

    @property
    def leaving(self) -> list[Presence]:
        """Workers that may have given back what they held since they told of it."""
        silent = self._silent
        return [p for p in self._presences if p.closing or p.returning or p in silent]

    @property
    def list_due(self) -> bool:
        """Whether the platform may know more of somebody who is not heard of."""
        asks_at = self.roster.asks_at(self._now)
        return not self.roster.listed_at or (asks_at is not None and self._now >= asks_at)

    @property
    def names(self) -> frozenset[str]:
        """Everyone's, as far as they are known."""
        return frozenset(m.name for m in self.roster.members.values() if m.name)

    @property
    def _silent(self) -> list[Presence]:
        return [p for p in self._presences if p.silent(self._now)]

    @property
    def _members(self) -> list[Member]:
        bearers: dict[str, list[Presence]] = {}
        for presence in self._presences:
            bearers.setdefault(presence.name, []).append(presence)
        return [
            Member(m.name, m.at, tuple(bearers.get(m.name, ())), left=m.left_at > 0)
            for m in self.roster.members.values()
        ]

    def learn(self, listing: Listing, elsewhere: Collection[str]) -> Refusal | None:
        """The platform has told who is there; those of these names belong *elsewhere*.

        Returns for how long nobody is to be hired, if too many ended too soon.
        """
        ours = {one.name: one for one in listing.workers if one.name not in elsewhere}
        awake = {p.name for p in self._presences if not p.silent(self._now)}
        before = replace(self.roster, newest=max(self.roster.newest, listing.newest))
        releases = {name: one.release for name, one in ours.items()}
        self.roster, ended = before.listed(releases, awake, self._now)
        self._ids = {name: one.id for name, one in ours.items()}
        self._listed = True
        crashed = [m for m in ended if m.crashed and m.name not in self._leave.names]
        self.roster = self.roster.after_crashes(crashed, self._now)
        pause = crash_pause(self.roster.crashes) if crashed else 0.0
        if not pause:
            return None
        why = (
            f"the workers of {self.roster.crashes} hires in a row have ended within a minute of "
            f"their start, {crashed[-1].name} the last: see its log. None is hired for "
            f"{pause:.0f} s after that, and then one"
        )
        return Refusal(why, self._now, self._now + pause, limit=0)

    def expect(self, quantity: int, until: float) -> None:
        """So many may there be by hires that the ledger had forgotten."""
        self.roster = self.roster.expecting(quantity - self.total, self._now, until)

    @property
    def trouble(self) -> Iterator[tuple[str, str]]:
        """What is wrong with somebody: its kind, and what."""
        for member in self._members:
            if self._now - member.at > LIFETIME - LAST_CALL and member.busy(self._now):
                yield (
                    f"lifetime {member.name}",
                    f"{member.name} is nearly a day old, so the platform ends it in minutes, and "
                    "it has a task still, which is cut short",
                )

    # -- what to do

    def decide(self, state: PoolState, work: int, *, fresh: bool, may_hire: bool) -> None:
        """Decide on what is known now; other workers of the pool have so much *work*."""
        pool, pause = self._pool, state.pause
        members = [replace(m, deaf=m.name in state.deaf) for m in self._members]
        room, needed = pool.max_workers - (state.formation or 0), 0
        if not pool.one_off:
            retired = self.names
        elif pause is not None and pause.fires:
            retired = frozenset[str]()
        else:
            deaf = state.deaf.keys() & self.names
            retired = self.roster.retired(self._now, state.longest) | deaf
        if pool.one_off:
            # What they have, they finish, or nobody does before they are gone.
            apart = [m for m in members if m.name in retired or m.lost(self._now)]
            rest = max(state.demand - work - sum(m.tasks for m in apart if not m.leaves), 0)
            needed = state.advised(rest).workers
            needed = pause.held(needed, self.quantity) if pause else needed
        if state.refusal is not None and state.refusal.limit is not None:
            room = min(room, state.refusal.limit)
            self._refused_until = state.refusal.until
        room = int(min(room, self.roster.most))
        if state.more_at_most is not None:
            room = min(room, self.total + state.more_at_most)
            self._refused_until = max(self._refused_until, state.hires_resume_at or 0.0)
        self._retired, self._why = frozenset(retired), state.advice.why
        hands = Hands(
            now=self._now,
            members=members,
            needed=needed,
            room=room,
            leave=self._leave,
            retired=retired,
            fresh=fresh,
            listed=self._listed,
            may_hire=may_hire,
        )
        self.choice = choose(hands)

    def write_choice(self) -> None:
        """Write down who is there, and who is to go, before anything is done."""
        before, after = ({*cordon.since} for cordon in (self._leave, self.choice.leave))
        new = after - before
        why = REPLACED if new <= self._retired else self._why
        for what, names in (("uncordon", before - after), ("cordon", new)):
            if there := sorted(names & self.names):
                logger.info("%s pool=%s workers=%s", what, self._pool.name, ",".join(there))
        self._leave = self.choice.leave
        self._write(why if new else "")

    def _write(self, why: str = "") -> None:
        if (self.roster, self._leave) != self._written:
            self._writer.roster(self.roster, self._leave, why)
            self._written = self.roster, self._leave

    # -- hires

    def announce(self, at: float, formation: int) -> list[str]:
        """The ids of those to be hired now. A successor must know of them, if we die before the
        answer.

        Every choice keeps the number within the limit; it is asserted here, for real money hangs
        on it.
        """
        ids = [secrets.token_hex(8) for _ in range(self.choice.hires)]
        self.roster = self.roster.hired(ids, at, at + LOCK_SECONDS + ONE_OFF.lands_within)
        most = self._pool.max_workers
        if self.total + formation > most:
            raise AssertionError(
                f"{self.total + formation} workers for pool {self._pool.name!r}, allowed are {most}"
            )
        self._write()
        return ids

    def answered(self, outcomes: Mapping[str, OneOff | PlatformError], at: float) -> None:
        """What became of each hire."""
        for key, outcome in outcomes.items():
            if not isinstance(outcome, PlatformError):
                self.roster = self.roster.answered(key, outcome.name, at + APPEARS)
            elif outcome.settled:
                self.roster = self.roster.answered(key, None, at)
        self._write()

    @property
    def hanging(self) -> list[str]:
        """The ids of those who were let go long ago, hold nothing, and are still there."""
        hang = (m.name for m in self.roster.members.values() if m.hangs(self._now))
        return [self._ids[name] for name in hang if name in self._ids]

    # -- what comes next

    def waits(self, callable_at: float) -> Iterator[float]:
        """Seconds after which they are to be looked at again."""
        if self.choice.suppressed or self.choice.wants_list:
            yield max(callable_at, self._refused_until) - self._now
        asks_at = self.roster.asks_at(self._now)
        if asks_at is not None:
            yield asks_at - self._now
        if self._presences:
            # Should they hang, nothing else would have it looked at.
            yield ASKS_AFTER
        if self._leave and self.quantity:
            yield 1.0


def strays_leave(snapshot: Snapshot, pools: Collection[str]) -> dict[str, str]:
    """What to write into the state so that workers of other pools than *pools* leave.

    A deploy may drop a pool, and one-off dynos live through it.
    """
    strays: dict[str, set[str]] = {}
    for presence in snapshot.presences:
        if presence.hire and presence.pool not in pools:
            strays.setdefault(cordon_field(presence), set()).add(presence.name)
    found = {}
    for name, workers in strays.items():
        known = unpack_cordon(snapshot.state.get(name))
        drawn = known.move(None, frozenset(workers), workers, snapshot.now, ONE_OFF)
        if drawn != known:
            found[name] = pack_cordon(drawn)
    return found
