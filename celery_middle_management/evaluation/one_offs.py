"""The one-off workers of one pool during an evaluation."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from celery_middle_management.core.choice import (
    Choice,
    Member,
    OneOffSituation,
    choose,
    members_of,
    only_replace,
    tasks_cut_short,
)
from celery_middle_management.core.decision import may_hire_now
from celery_middle_management.core.pool_state import PoolState, Refusal
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.presence import Presence
from celery_middle_management.core.roster import APPEARS, ASKS_AFTER, Roster, crash_pause
from celery_middle_management.core.timing import LOCK_SECONDS
from celery_middle_management.core.traits import ONE_OFF
from celery_middle_management.evaluation.pool_log import PoolLog
from celery_middle_management.ledger.codec import cordon_field, pack_cordon, unpack_cordon
from celery_middle_management.ledger.model import Snapshot
from celery_middle_management.ledger.pool import PoolWriter
from celery_middle_management.platforms.base import Listing, OneOff, PlatformError

#: The reasons given for letting workers go although the number of workers would suit.
OTHER_KIND = "the pool uses the formation now"
OLD_RELEASE = "it runs an older release"
NO_TASKS = "it takes no tasks, though it should"
NEAR_END = "its 24 hours are nearly over"


class OneOffs:
    """Keeps a pool's roster up to date, and decides about its workers."""

    def __init__(
        self,
        state: PoolState,
        presences: Collection[Presence],
        writer: PoolWriter,
        log: PoolLog,
    ) -> None:
        self._pool = state.pool
        self._now = state.now
        self._presences = presences
        self._writer = writer
        self._log = log
        self._written = state.roster, state.leave
        self._leave = state.leave
        #: The platform's ids of the workers, by name; None until the platform has listed them.
        self._ids: Mapping[str, str] | None = None
        self._refused_until = 0.0
        self._replaced = frozenset[str]()
        self._deaf = state.deaf
        self._why = ""
        self.roster = state.roster.with_reports(presences, state.leave, state.now)
        self.choice = Choice(state.leave)

    # -- what is known

    @property
    def quantity(self) -> int:
        """The number of workers that have not been let go."""
        return sum(not m.leaves for m in members_of(self.roster, self._presences))

    @property
    def work(self) -> int:
        """The tasks that these workers are known to have."""
        return sum(m.tasks for m in members_of(self.roster, self._presences) if not m.leaves)

    @property
    def gone(self) -> list[Presence]:
        """Presences of workers whose process certainly no longer exists."""
        if self._ids is None:
            return []
        names = self.roster.names
        return [p for p in self._presences if p.silent(self._now) and p.name not in names]

    @property
    def leaving(self) -> list[Presence]:
        """Presences of workers that may have given back tasks since they reported them."""
        return [p for p in self._presences if p.closing or p.returning or p.silent(self._now)]

    @property
    def trouble(self) -> Iterator[tuple[str, str]]:
        """What is wrong with the workers: each kind of trouble, and a message."""
        for name, message in tasks_cut_short(members_of(self.roster, self._presences), self._now):
            yield f"lifetime {name}", message

    def learn(self, listing: Listing, elsewhere: Collection[str]) -> Refusal | None:
        """Record the platform's list; workers named in *elsewhere* are not ours.

        If too many workers ended too soon, returns a refusal, which pauses hiring.
        """
        known = self.roster.names.union(p.name for p in self._presences)
        listed = [*listing.workers, *(one for one in listing.others if one.name in known)]
        ours = {one.name: one for one in listed if one.name not in elsewhere}
        awake = {p.name for p in self._presences if not p.silent(self._now)}
        before = replace(self.roster, newest=max(self.roster.newest, listing.newest))
        releases = {name: one.release for name, one in ours.items()}
        self.roster, ended = before.with_listing(releases, awake, self._now)
        self._ids = {name: one.id for name, one in ours.items()}
        others = {*self._leave.names, *elsewhere}
        crashed = [m for m in ended if m.crashed and m.name not in others]
        self.roster = self.roster.with_crashes(crashed, self._now)
        pause = crash_pause(self.roster.crashes) if crashed else 0.0
        if not pause:
            return None
        why = (
            f"the workers of {self.roster.crashes} hires in a row have ended within a minute of "
            f"their start, {crashed[-1].name} most recently: see its log. No worker is hired for "
            f"{pause:.0f} s, and then only one"
        )
        return Refusal(why, self._now, self._now + pause, limit=0)

    def expect(self, quantity: int, until: float) -> None:
        """Expect *quantity* workers: the ledger had forgotten the hires of some."""
        missing = quantity - len(self.roster.members)
        self.roster = self.roster.with_forgotten(missing, self._now, until)

    # -- what to do

    def decide(
        self,
        state: PoolState,
        work: int,
        *,
        fresh: bool,
        may_call: bool,
        blocked: bool,
        most: int | None,
    ) -> None:
        """Decide from what is known now; the workers of the pool's formation have *work* tasks.

        At *most* so many workers are wanted. If it is None, the number is left to other processes.
        """
        members = members_of(self.roster, self._presences, state.deaf)
        room, self._refused_until = _room(state, self.roster)
        self._replaced, self._why = _to_replace(state, self.roster), state.advice.why
        if most is None:
            self.choice = only_replace(members, self._leave, self._replaced, self._now)
            return
        situation = OneOffSituation(
            now=self._now,
            members=members,
            needed=_needed(state, members, self._replaced, work, most),
            room=room,
            leave=self._leave,
            replaced=self._replaced,
            fresh=fresh,
            listed=self._ids is not None,
            may_hire=may_hire_now(state.quantity, may_call=may_call, blocked=blocked),
        )
        self.choice = choose(situation)

    def write_choice(self) -> None:
        """Write the roster and which workers must leave, before anything is done."""
        before, after = ({*cordon.since} for cordon in (self._leave, self.choice.leave))
        new = after - before
        replaced = _why_replaced(new, self._pool, self.roster, self._deaf)
        why = replaced if new <= self._replaced else self._why
        for action, names in (("uncordon", before - after), ("cordon", new)):
            if known := sorted(names & self.roster.names):
                self._log.line(action, f"workers={','.join(known)}")
        self._leave = self.choice.leave
        self.write_roster(why if new else "")

    def write_roster(self, why: str = "") -> None:
        """Write the roster and which workers must leave, if either has changed, and *why*."""
        if (self.roster, self._leave) != self._written:
            self._writer.roster(self.roster, self._leave, why)
            self._written = self.roster, self._leave

    # -- hires

    def announce(self, at: float, formation: int) -> list[str]:
        """Write down the hires to be sent now, and return their ids.

        If we die before the answer, a successor must know of them. Every choice keeps the number of
        workers within the limit; this is asserted here because real money depends on it.
        """
        ids = [secrets.token_hex(8) for _ in range(self.choice.hires)]
        self.roster = self.roster.with_hires(ids, at, at + LOCK_SECONDS + ONE_OFF.lands_within)
        total, most = len(self.roster.members) + formation, self._pool.max_workers
        if total > most:
            raise AssertionError(
                f"{total} workers for pool {self._pool.name!r}, but only {most} are allowed"
            )
        self.write_roster()
        return ids

    def record_answers(self, outcomes: Mapping[str, OneOff | PlatformError], at: float) -> None:
        """Record the outcome of each hire."""
        for key, outcome in outcomes.items():
            if not isinstance(outcome, PlatformError):
                self.roster = self.roster.with_answer(key, outcome.name, at + APPEARS)
            elif outcome.settled:
                self.roster = self.roster.with_answer(key, None, at)
        self.write_roster()

    @property
    def hanging(self) -> list[str]:
        """The platform's ids of workers that were let go long ago and are still there."""
        ids = self._ids or {}
        names = (m.name for m in self.roster.members.values() if m.hangs(self._now))
        return [ids[name] for name in names if name in ids]

    # -- what comes next

    def waits(self, callable_at: float) -> Iterator[float]:
        """Yield seconds after which the workers must be evaluated again."""
        if self.choice.suppressed or self.choice.wants_list:
            yield max(callable_at, self._refused_until) - self._now
        asks_at = self.roster.asks_at(self._now)
        if asks_at is not None:
            yield asks_at - self._now
        if self._presences:
            # If they hang, nothing else starts an evaluation that would notice.
            yield ASKS_AFTER
        if self._leave and self.quantity:
            yield 1.0


def _to_replace(state: PoolState, roster: Roster) -> frozenset[str]:
    """Return the names of workers that must be replaced."""
    if not state.pool.one_off:
        return roster.names
    if state.pause is not None and state.pause.fires:
        return frozenset()
    return roster.to_replace(state.now, state.longest) | (state.deaf.keys() & roster.names)


def _why_replaced(names: Collection[str], pool: Pool, roster: Roster, deaf: Collection[str]) -> str:
    """Return why workers with these *names* must be replaced."""
    if not pool.one_off:
        return OTHER_KIND
    if not roster.outdated.isdisjoint(names):
        return OLD_RELEASE
    return NEAR_END if set(deaf).isdisjoint(names) else NO_TASKS


def _needed(
    state: PoolState, members: Collection[Member], replaced: Collection[str], work: int, most: int
) -> int:
    """Return how many workers, at *most*, are needed beside the formation, which has *work* tasks.

    Replaced and unreliable workers do not count. They finish their own tasks or lose them: either
    way, these tasks need no other worker now.
    """
    if not state.pool.one_off:
        return 0
    apart = [m for m in members if m.name in replaced or m.unreliable(state.now)]
    rest = max(state.demand - work - sum(m.tasks for m in apart if not m.leaves), 0)
    needed = min(state.advised(rest).workers, most)
    quantity = sum(not m.leaves for m in members)
    return state.pause.held(needed, quantity) if state.pause else needed


def _room(state: PoolState, roster: Roster) -> tuple[int, float]:
    """Return how many one-off workers are allowed, and when (Unix, s) that may change."""
    room = min(float(state.pool.max_workers - (state.formation or 0)), roster.most)
    until = 0.0
    if state.refusal is not None and state.refusal.limit is not None:
        room = min(room, state.refusal.limit)
        until = state.refusal.until
    if state.more_at_most is not None:
        room = min(room, len(roster.members) + state.more_at_most)
        until = max(until, state.hires_resume_at or 0.0)
    return int(room), until


def cordon_dropped_pools(snapshot: Snapshot, pools: Collection[str]) -> dict[str, str]:
    """Return the changes to the state that make workers of pools other than *pools* leave.

    A deploy may drop a pool, but the pool's one-off dynos survive the deploy.
    """
    dropped: dict[str, set[str]] = {}
    for presence in snapshot.presences:
        if presence.hire and presence.pool not in pools:
            dropped.setdefault(cordon_field(presence), set()).add(presence.name)
    changes = {}
    for name, workers in dropped.items():
        known = unpack_cordon(snapshot.state.get(name))
        cordon = known.move(None, frozenset(workers), workers, snapshot.now, ONE_OFF)
        if cordon != known:
            changes[name] = pack_cordon(cordon)
    return changes
