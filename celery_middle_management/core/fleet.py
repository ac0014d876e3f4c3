"""The workers of a pool as their presences tell them: who is drained, who may be fired.

A name such as ``worker.3`` may be borne by two processes for a while: during a deploy or restart
the old one shuts down beside the new one. So a name is drained only when all who bear it are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.presence import Presence
from celery_middle_management.core.traits import DOTTED, Stops, Traits

#: Two dynos bear a name for a while only: one that has been silent for so long (s) while another
#: reports is gone, whichever of them came up first.
OUTLIVED = 600.0
#: Before this time (s) a worker that is not heard of is most likely still booting.
BOOT_TIME = 15.0
#: One that is up and of which nothing has been heard for this long (s) is not booting any more.
BOOT_GRACE = 60.0
#: The platform is asked once in this time (s) whether one that was not heard of is still up.
ASKS_AGAIN = 60.0


@dataclass(frozen=True)
class Fleet:
    """The workers of one pool at one moment."""

    pool: str
    now: float
    presences: tuple[Presence, ...] = ()
    quantity: int | None = None
    #: When (Unix, s) the platform said so.
    quantity_at: float = 0.0
    #: Names that the platform says are starting or up, as often as they are borne; None when it
    #: was not asked.
    running: Collection[str] | None = None
    #: Those of whom nothing had been heard when the platform was last asked, if that was lately.
    missed: Collection[str] = ()
    traits: Traits = DOTTED

    @property
    def unordered(self) -> bool:
        """Whether the platform stops whom it likes, as those do that give names without numbers."""
        if self.traits.stops is Stops.ANY:
            return True
        names = {*(p.name for p in self.presences), *(self.running or ()), *self.missed}
        return any(self.traits.number_of(name) is None for name in names)

    @cached_property
    def unheard(self) -> frozenset[str]:
        """Workers that the platform says are up and that have told nothing: they are at work.

        One may reach the broker and not the ledger, or bear another name than it should.
        """
        heard = Counter(p.name for p in self.living if not p.closing)
        up = Counter(self.missed if self.running is None else self.running)
        return frozenset(name for name, times in up.items() if times > heard[name])

    @cached_property
    def living(self) -> tuple[Presence, ...]:
        """Every presence that is not surely gone."""
        return tuple(p for p in self.presences if not self.gone(p))

    @property
    def leaving(self) -> tuple[Presence, ...]:
        """Workers that give back what they hold for later, or may have done so since they told.

        They shut down or prepare for it, or the platform was told to stop them, or they died.
        """
        return tuple(
            p
            for p in self.living
            if p.closing
            or p.returning
            or p.silent(self.now)
            or self._dismissed(p)
            or self.quantity == 0
        )

    @property
    def doomed(self) -> bool:
        """Whether a worker is still there that the platform has no place for, and so will stop."""
        return any(self._dismissed(p) and p.since <= self.quantity_at for p in self.living)

    def more_than_known(self) -> bool:
        """Whether workers are at work that the known quantity has no place for.

        Somebody may have hired them by hand; not those that were there when the quantity was known.
        """
        at_work = [p for p in self.presences if not p.closing and not p.silent(self.now)]
        unnumbered = {p.name for p in at_work if self.traits.number_of(p.name) is None}
        return len(unnumbered) > (self.quantity or 0) or any(
            self._dismissed(p) and p.since > self.quantity_at for p in at_work
        )

    def gone(self, presence: Presence) -> bool:
        """Whether a presence surely has no process any more."""
        if self.now - presence.seen < self.traits.surely_killed:
            return False
        namesakes = [p for p in self.presences if p.name == presence.name]
        replaced = any(
            p.since > presence.since and self.now - p.since >= self.traits.surely_killed
            for p in namesakes
        )
        # The old dyno of a deploy may have been the later one to come up, if both had just booted.
        outlived = self.now - presence.seen >= OUTLIVED and not all(
            p.silent(self.now) for p in namesakes
        )
        ended = self.running is not None and presence.name not in self.running
        return replaced or outlived or ended or self._dismissed(presence)

    def _dismissed(self, presence: Presence) -> bool:
        number = self.traits.number_of(presence.name)
        return number is not None and self.quantity is not None and number > self.quantity

    def names(self, quantity: int) -> tuple[str, ...]:
        """The names of the workers that a quantity stands for, as far as they are known."""
        if self.unordered:
            return tuple(sorted({p.name for p in self.living}))
        return tuple(self.name_of(number) for number in range(1, quantity + 1))

    def name_of(self, number: int) -> str:
        """The name of the worker with this number."""
        return self.traits.name(self.pool, number)

    def bearers(self, name: str) -> tuple[Presence, ...]:
        """Everyone who may still bear *name*."""
        return tuple(self._by_name.get(name, ()))

    @cached_property
    def _by_name(self) -> dict[str, list[Presence]]:
        by_name: dict[str, list[Presence]] = {}
        for presence in self.living:
            by_name.setdefault(presence.name, []).append(presence)
        return by_name

    def drained(self, name: str, cordon: Cordon) -> bool:
        """Whether stopping the worker of this name surely kills no task."""
        if not cordon.holds(name, self.traits):
            return False
        bearers = self.bearers(name)
        if name in self.unheard or not (bearers or self.running is not None):
            return False
        return all(self._idle(p, cordon) for p in bearers)

    def unknown(self, names: Iterable[str], cordon: Cordon) -> bool:
        """Whether asking the platform for its running workers may tell more about *names*."""
        return self.running is None and any(
            name not in self.unheard
            and (
                any(self.now - p.seen >= self.traits.surely_killed for p in self.bearers(name))
                if self.bearers(name)
                else self.now - cordon.since.get(name, self.now) >= BOOT_TIME
            )
            for name in names
        )

    def idle(self, cordon: Cordon) -> bool:
        """Whether every worker is cordoned and runs nothing."""
        return all(self._idle(p, cordon) for p in self.living)

    def busy(self) -> bool:
        """Whether any worker runs something, or may."""
        return bool(self.unheard) or any(p.busy or p.silent(self.now) for p in self.living)

    def _idle(self, presence: Presence, cordon: Cordon) -> bool:
        return (
            not presence.silent(self.now)
            and (presence.closing or self._gave_way(presence, cordon))
            and presence.busy == 0
        )

    def _gave_way(self, presence: Presence, cordon: Cordon) -> bool:
        obeys = cordon.at > 0 and presence.stopped == cordon.at
        return obeys and presence.returning == 0
