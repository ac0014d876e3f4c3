"""Which workers are to take no more tasks, and what one of them makes of that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from celery_middle_management.core.timing import KEEPS_CORDON
from celery_middle_management.core.traits import DOTTED, Stops, Traits


@dataclass(frozen=True)
class Cordon:
    """Which workers of a pool are to take no more tasks.

    *above*: those numbered higher, and every one without a number. *names*: those as well.
    *at* is Redis' time (Unix, s) when it was drawn, and tells one cordon from another. *since*
    says for each worker behind it since when it has been cordoned without a break.
    """

    above: int | None = None
    names: frozenset[str] = frozenset()
    at: float = 0.0
    since: Mapping[str, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.above is not None or bool(self.names)

    def holds(self, name: str, traits: Traits = DOTTED) -> bool:
        """Whether the worker of this name is cordoned, on a platform with these traits."""
        if name in self.names:
            return True
        if traits.stops is Stops.CHOSEN:
            return False
        number = traits.number_of(name)
        return self.above is not None and (number is None or number > self.above)

    def same_as(self, other: Cordon) -> bool:
        """Whether both cordon the same workers, whenever they were drawn."""
        return self.above == other.above and self.names == other.names

    def obeyed(self, name: str, stopped: float) -> bool:
        """Whether a worker that *stopped* under the cordon of that time is cordoned ever since."""
        since = self.since.get(name)
        return since is not None and stopped >= since

    def redrawn(
        self,
        above: int | None,
        names: frozenset[str],
        names_of_all: Iterable[str],
        now: float,
        traits: Traits = DOTTED,
    ) -> Cordon:
        """The cordon *above* and *names*, with the times of those that this one held already.

        *names_of_all* are those of the pool's workers.
        """
        new = Cordon(above, names, now)
        since = {n: self.since.get(n, now) for n in names_of_all if new.holds(n, traits)}
        return Cordon(above, names, self.at if new.same_as(self) else now, since)


class Orders:
    """The cordon that one worker obeys, out of those that it is told of.

    Times are readings of one clock (s), whichever.
    """

    def __init__(self, name: str, born: float, traits: Traits = DOTTED) -> None:
        self._name = name
        self._traits = traits
        self._told = Cordon()
        self._heard = False
        self._waits_until = born + traits.hears_within
        self._keeps_until = 0.0

    def cordon(self, now: float) -> Cordon:
        """The cordon that holds this worker, an empty one if none does."""
        if not self._heard and now < self._waits_until:
            return Cordon(names=frozenset({self._name}))
        return self._told

    def hear(self, told: Cordon, now: float, *, lost: bool) -> None:
        """The ledger told of its pool's cordon, and whether it had *lost* its data meanwhile.

        Then it may not know whom the platform is about to stop: until a scaler has learned it, the
        worker stays cordoned.
        """
        self._heard = True
        if lost:
            self._keeps_until = now + KEEPS_CORDON
        if told.holds(self._name, self._traits):
            self._told = told
        elif now >= self._keeps_until:
            self._told = Cordon()
