"""Whom to hire and whom to let go, where each worker can go alone: a pure function."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.fleet import BOOT_GRACE
from celery_middle_management.core.presence import Presence
from celery_middle_management.core.traits import ONE_OFF

#: Who has not been heard of for this long (s) does nothing that anybody could rely on.
RELIED_ON = 30.0


@dataclass(frozen=True)
class Member:
    """One worker of the roster, and what the processes tell that bear its name."""

    name: str
    #: When (Unix, s) it was hired or met.
    at: float
    bearers: tuple[Presence, ...] = ()
    #: It was told to go, or has said goodbye.
    left: bool = False
    #: It takes nothing, though it should.
    deaf: bool = False

    @property
    def leaves(self) -> bool:
        """Whether it can be called back no more."""
        return self.left or (bool(self.bearers) and all(p.closing for p in self.bearers))

    @property
    def tasks(self) -> int:
        """Those that it has, as far as is known."""
        return sum(p.busy for p in self.bearers)

    def busy(self, now: float) -> int:
        """The tasks that it has; who is not heard of may have one."""
        if not self.bearers:
            return int(now - self.at >= BOOT_GRACE)
        return sum(p.busy or p.silent(now) for p in self.bearers)

    def lost(self, now: float) -> bool:
        """Whether it cannot be relied on: it is up and deaf, or not heard of for too long."""
        if self.deaf:
            return True
        heard = max((p.seen for p in self.bearers), default=self.at)
        return now - heard >= (RELIED_ON if self.bearers else BOOT_GRACE)


@dataclass(frozen=True)
class Hands:
    """All that a choice rests on. Times are Redis', Unix (s)."""

    now: float
    members: Collection[Member]
    #: Workers needed beside those that are to be replaced and what they still do.
    needed: int
    #: So many may there be, at most.
    room: int
    #: Who is cordoned, and leaves when it is drained.
    leave: Cordon
    #: Those to be replaced.
    retired: frozenset[str]
    #: The demand was counted since the lock was won.
    fresh: bool
    #: The platform has told who is there since the lock was won.
    listed: bool
    may_hire: bool


@dataclass(frozen=True)
class Choice:
    """Whom to hire and whom to let go, and what must be known first to do more."""

    leave: Cordon
    hires: int = 0
    wants_count: bool = False
    wants_list: bool = False
    #: A hire waits.
    suppressed: bool = False


def choose(hands: Hands) -> Choice:
    """Call back, hire, or let go: idle ones first, then those with the fewest tasks, then the
    oldest.

    Those to be replaced are cordoned at once, for whoever is hired has their place; anybody else
    only on a fresh count, and not for somebody who may never come. Who hangs does none of the work,
    and takes up room. Nobody is hired beyond the room, whoever is about to leave.
    """
    staying = [m for m in hands.members if not m.leaves]
    usable = [m for m in staying if m.name not in hands.retired and not m.lost(hands.now)]
    surplus = max(sum(bool(m.name) for m in usable) - hands.needed, 0)
    chosen = {m.name for m in _in_order(hands, usable)[:surplus]}
    away = (m.name for m in hands.members if m.leaves or m.lost(hands.now))
    going = {*away} & hands.leave.names
    names = frozenset(chosen | going | {m.name for m in staying if m.name in hands.retired})
    unsure = bool(chosen - hands.leave.names) and not hands.fresh
    if unsure:
        names -= chosen - hands.leave.names
    leave = hands.leave.move(None, names, names, hands.now, ONE_OFF)
    choice = Choice(leave, wants_count=unsure)
    missing = hands.needed - len(usable)
    return _hire(hands, choice, missing) if missing > 0 else choice


def _hire(hands: Hands, choice: Choice, missing: int) -> Choice:
    hires = min(missing, hands.room - len(hands.members))
    # The list may tell that some have gone.
    worth_asking = hires > 0 or any(m.left for m in hands.members)
    if not hands.may_hire or not worth_asking:
        return replace(choice, suppressed=True)
    if not hands.listed:
        return replace(choice, wants_list=True)
    return replace(choice, hires=max(hires, 0), suppressed=hires < missing)


def _in_order(hands: Hands, members: Collection[Member]) -> list[Member]:
    """Those that can be told to go, the first to go first."""
    named = (m for m in members if m.name)
    return sorted(
        named,
        key=lambda m: (m.name not in hands.leave.names, m.busy(hands.now), m.at, m.name),
    )
