"""Choose how many one-off workers to hire and which to let go: a pure function."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.fleet import BOOT_GRACE
from celery_middle_management.core.presence import Presence
from celery_middle_management.core.roster import LAST_CALL, LIFETIME, Roster, by_name
from celery_middle_management.core.traits import ONE_OFF

#: A worker that has not reported for this long (s) cannot be relied on for any work.
RELIED_ON = 30.0


@dataclass(frozen=True)
class Member:
    """One worker of the roster, with the presences of the processes that have its name."""

    name: str
    #: When (Unix, s) it was hired or first seen.
    at: float
    presences: tuple[Presence, ...] = ()
    #: It was let go, or has said goodbye.
    left: bool = False
    #: It takes no tasks, though it should.
    deaf: bool = False

    @property
    def leaves(self) -> bool:
        """True if it is too late to call it back."""
        return self.left or (bool(self.presences) and all(p.closing for p in self.presences))

    @property
    def tasks(self) -> int:
        """The number of tasks that it is known to have."""
        return sum(p.busy for p in self.presences)

    def busy(self, now: float) -> int:
        """Return how many tasks it might have: a worker that does not report might have one."""
        if not self.presences:
            return int(now - self.at >= BOOT_GRACE)
        return sum(p.busy or p.silent(now) for p in self.presences)

    def unreliable(self, now: float) -> bool:
        """Return whether it is deaf or has not reported for too long."""
        if self.deaf:
            return True
        seen = max((p.seen for p in self.presences), default=self.at)
        return now - seen >= (RELIED_ON if self.presences else BOOT_GRACE)


def members_of(
    roster: Roster, presences: Iterable[Presence], deaf: Collection[str] = ()
) -> list[Member]:
    """Return the workers of a roster with what they report."""
    reports = by_name(presences)
    return [
        Member(
            m.name, m.at, tuple(reports.get(m.name, ())), left=m.left_at > 0, deaf=m.name in deaf
        )
        for m in roster.members.values()
    ]


def tasks_cut_short(members: Iterable[Member], now: float) -> Iterator[tuple[str, str]]:
    """Yield the name and a message for each worker whose end will cut its tasks short."""
    for member in members:
        if now - member.at > LIFETIME - LAST_CALL and member.busy(now):
            yield (
                member.name,
                f"{member.name} is nearly a day old and still has a task. The platform ends it "
                "within minutes, which cuts the task short",
            )


@dataclass(frozen=True)
class OneOffSituation:
    """Everything that a choice depends on. Times are those of Redis (Unix, s)."""

    now: float
    members: Collection[Member]
    #: The number of workers needed, leaving out workers to be replaced and the tasks they hold.
    needed: int
    #: The largest number of workers allowed.
    room: int
    #: The cordoned workers; each leaves when it is drained.
    leave: Cordon
    #: The names of the workers that must be replaced.
    replaced: frozenset[str]
    #: True if the demand was counted after this evaluation won the lock.
    fresh: bool
    #: True if the platform has listed its workers since this evaluation won the lock.
    listed: bool
    may_hire: bool


@dataclass(frozen=True)
class Choice:
    """Which workers leave, how many to hire, and what must be known before more can be done."""

    leave: Cordon
    hires: int = 0
    wants_count: bool = False
    wants_list: bool = False
    #: A hire has to wait.
    suppressed: bool = False


def choose(situation: OneOffSituation) -> Choice:
    """Call workers back, hire some, or let some go.

    - Idle workers go first, then those with the fewest tasks, then the oldest.
    - Workers to be replaced are cordoned at once, because new ones are hired in their place. Others
      are cordoned only after a fresh count, and never to make way for a hire that is still
      unanswered.
    - A worker that hangs or is leaving does none of the work, but still takes up room.
    """
    now, leave = situation.now, situation.leave
    staying = [m for m in situation.members if not m.leaves]
    usable = [m for m in staying if m.name not in situation.replaced and not m.unreliable(now)]
    surplus = max(sum(bool(m.name) for m in usable) - situation.needed, 0)
    chosen = {m.name for m in _in_order(situation, usable)[:surplus]}
    away = {m.name for m in situation.members if m.leaves or m.unreliable(now)}
    replaced = {m.name for m in staying if m.name in situation.replaced}
    names = frozenset(chosen | (away & leave.names) | replaced)
    newly_chosen = chosen - leave.names
    wants_count = bool(newly_chosen) and not situation.fresh
    if wants_count:
        names -= newly_chosen
    choice = Choice(leave.move(None, names, names, now, ONE_OFF), wants_count=wants_count)
    missing = situation.needed - len(usable)
    return _hire(situation, choice, missing) if missing > 0 else choice


def only_replace(
    members: Iterable[Member], leave: Cordon, replaced: Collection[str], now: float
) -> Choice:
    """Cordon the workers that must be replaced, and leave all others as they are."""
    names = leave.names.union(m.name for m in members if m.name in replaced and not m.leaves)
    return Choice(leave.move(None, names, names, now, ONE_OFF))


def _hire(situation: OneOffSituation, choice: Choice, missing: int) -> Choice:
    hires = min(missing, situation.room - len(situation.members))
    # If some have left, the platform's list may show that there is room.
    worth_asking = hires > 0 or any(m.left for m in situation.members)
    if not situation.may_hire or not worth_asking:
        return replace(choice, suppressed=True)
    if not situation.listed:
        return replace(choice, wants_list=True)
    return replace(choice, hires=max(hires, 0), suppressed=hires < missing)


def _in_order(situation: OneOffSituation, members: Collection[Member]) -> list[Member]:
    """Return the named members in the order in which to let them go; no others can be let go."""
    cordoned, now = situation.leave.names, situation.now
    named = (m for m in members if m.name)
    return sorted(named, key=lambda m: (m.name not in cordoned, m.busy(now), m.at, m.name))
