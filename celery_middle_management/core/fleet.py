"""The workers of a pool as they report themselves: which are drained, and which may be fired.

Two processes may share a name such as ``worker.3`` for a while: during a deploy or restart the old
one shuts down beside the new one. So a name is drained only when every process that has it is
drained.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.presence import Presence
from celery_middle_management.core.traits import DOTTED, Stops, Traits

#: Two dynos share a name for a short time only. One that has been silent for this long (s) while
#: another reports is gone, whichever of them came up first.
OUTLIVED = 600.0
#: A worker that has not reported within this time (s) is most likely still booting.
BOOT_TIME = 15.0
#: A worker that is up and has not reported for this long (s) is no longer booting.
BOOT_GRACE = 60.0
#: Ask the platform at most once in this time (s) whether a worker that did not report is still up.
ASKS_AGAIN = 60.0


@dataclass(frozen=True)
class Fleet:
    """The workers of one pool at one moment."""

    pool: str
    now: float
    presences: tuple[Presence, ...] = ()
    quantity: int | None = None
    #: When (Unix, s) the platform reported the quantity.
    quantity_at: float = 0.0
    #: The names of workers that the platform says are starting or up, one for each process; None if
    #: it was not asked.
    running: Collection[str] | None = None
    #: The workers that were up and had not reported when the platform was last asked, if that was
    #: recent.
    missed: Collection[str] = ()
    traits: Traits = DOTTED

    @cached_property
    def unordered(self) -> bool:
        """True if it is unknown which workers the platform stops, as when names have no numbers."""
        if self.traits.stops is Stops.ANY:
            return True
        names = {*(p.name for p in self.presences), *(self.running or ()), *self.missed}
        return any(self.traits.number_of(name) is None for name in names)

    @cached_property
    def unheard(self) -> frozenset[str]:
        """Workers that the platform says are up but that have not reported: they count as busy.

        They may reach the broker but not the ledger, or have unexpected names.
        """
        up = self.missed if self.running is None else self.running
        if not up:
            return frozenset()
        heard = Counter(p.name for p in self.living if not p.closing)
        return frozenset(name for name, times in Counter(up).items() if times > heard[name])

    @cached_property
    def living(self) -> tuple[Presence, ...]:
        """Every presence that is not surely gone."""
        gone = self.gone
        return tuple([p for p in self.presences if p not in gone]) if gone else self.presences

    @cached_property
    def gone(self) -> tuple[Presence, ...]:
        """The presences whose process surely does not exist any more."""
        now, killed_after = self.now, self.traits.surely_killed
        silent = [p for p in self.presences if now - p.seen >= killed_after]
        return tuple([p for p in silent if self._has_ended(p)])

    def _has_ended(self, silent: Presence) -> bool:
        """Return whether a worker that was *silent* for long enough to be killed has ended."""
        namesakes = [p for p in self.presences if p.name == silent.name]
        replaced = any(
            p.since > silent.since and self.now - p.since >= self.traits.surely_killed
            for p in namesakes
        )
        # If both had just booted, the old dyno of a deploy may have been the later one to come up.
        outlived = self.now - silent.seen >= OUTLIVED and not all(
            p.silent(self.now) for p in namesakes
        )
        stopped = self.running is not None and silent.name not in self.running
        return replaced or outlived or stopped or silent in self._surplus

    @cached_property
    def _surplus(self) -> tuple[Presence, ...]:
        """The workers with a number above the quantity: the platform has no place for them."""
        quantity, number_of = self.quantity, self.traits.number_of
        if quantity is None:
            return ()
        return tuple([p for p in self.presences if (number_of(p.name) or 0) > quantity])

    @property
    def leaving(self) -> tuple[Presence, ...]:
        """Workers that are returning scheduled tasks, or may have done so since they reported.

        They are shutting down or about to, the platform was told to stop them, or they died.
        """
        return tuple(
            p
            for p in self.living
            if p.closing
            or p.returning
            or p.silent(self.now)
            or p in self._surplus
            or self.quantity == 0
        )

    @property
    def doomed(self) -> bool:
        """True if a worker is still up though the platform has no place for it and will stop it."""
        return any(p.since <= self.quantity_at and p not in self.gone for p in self._surplus)

    def more_than_known(self) -> bool:
        """Return whether more workers run than the known quantity accounts for.

        They may have been hired by hand. Workers that were up before the quantity was read do not
        count.
        """

        def at_work(presence: Presence) -> bool:
            return not presence.closing and not presence.silent(self.now)

        number_of = self.traits.number_of
        unnumbered = [p for p in self.presences if number_of(p.name) is None]
        return len({p.name for p in unnumbered if at_work(p)}) > (self.quantity or 0) or any(
            p.since > self.quantity_at and at_work(p) for p in self._surplus
        )

    def names(self, quantity: int) -> tuple[str, ...]:
        """Return the known names of the workers that make up a quantity."""
        if self.unordered:
            return tuple(sorted({p.name for p in self.living}))
        return tuple(self.name_of(number) for number in range(1, quantity + 1))

    def name_of(self, number: int) -> str:
        """Return the name of the worker with this number."""
        return self.traits.name(self.pool, number)

    def drained(self, name: str, cordon: Cordon) -> bool:
        """Return whether stopping the worker with this name surely kills no task."""
        if not cordon.holds(name, self.traits) or name in self.unheard:
            return False
        processes = [p for p in self.living if p.name == name]
        if not processes and self.running is None:
            return False
        return all(_is_drained(p, cordon, self.now) for p in processes)

    def unknown(self, names: Iterable[str], cordon: Cordon) -> bool:
        """Return whether asking the platform which workers run may tell more about *names*."""
        if self.running is not None:
            return False
        now, killed_after = self.now, self.traits.surely_killed
        unsure = {*names} - self.unheard
        silent = [p.name for p in self.living if now - p.seen >= killed_after]
        absent = unsure.difference([p.name for p in self.living])
        return not unsure.isdisjoint(silent) or any(
            now - cordon.since.get(name, now) >= BOOT_TIME for name in absent
        )

    def idle(self, cordon: Cordon) -> bool:
        """Return whether every worker is cordoned and runs nothing."""
        return all(_is_drained(p, cordon, self.now) for p in self.living)

    def busy(self) -> bool:
        """Return whether any worker is running something, or may be."""
        return bool(self.unheard) or any(p.busy or p.silent(self.now) for p in self.living)


def _is_drained(presence: Presence, cordon: Cordon, now: float) -> bool:
    """Return whether a worker said, under *cordon* or while shutting down, that it runs nothing."""
    cordoned = cordon.at > 0 and presence.stopped == cordon.at and presence.returning == 0
    return not presence.silent(now) and (presence.closing or cordoned) and presence.busy == 0
