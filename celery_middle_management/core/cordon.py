"""Cordons: which workers take no more tasks, and which cordon one worker follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from celery_middle_management.core.timing import KEEPS_CORDON
from celery_middle_management.core.traits import DOTTED, Stops, Traits


@dataclass(frozen=True)
class Cordon:
    """Which workers of a pool take no more tasks.

    Attributes:
        above: workers with a higher number, or without a number, are cordoned.
        names: these are cordoned as well.
        at: Redis' time (Unix, s) when the cordon was set; this tells one cordon from another.
        since: for each cordoned worker, since when it has been cordoned without a break.
    """

    above: int | None = None
    names: frozenset[str] = frozenset()
    at: float = 0.0
    since: Mapping[str, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.above is not None or bool(self.names)

    def holds(self, name: str, traits: Traits = DOTTED) -> bool:
        """Return whether the worker of this name is cordoned, on a platform with these traits."""
        if name in self.names:
            return True
        if traits.stops is Stops.CHOSEN:
            return False
        number = traits.number_of(name)
        return self.above is not None and (number is None or number > self.above)

    def holds_since(self, name: str, at: float) -> bool:
        """Return whether the worker of this name has been cordoned without a break since *at*."""
        since = self.since.get(name)
        return since is not None and at >= since

    def same_as(self, other: Cordon) -> bool:
        """Return whether both cordon the same workers, whenever they were set."""
        return self.above == other.above and self.names == other.names

    def move(
        self,
        above: int | None,
        names: frozenset[str],
        workers: Iterable[str],
        now: float,
        traits: Traits = DOTTED,
    ) -> Cordon:
        """Return the cordon moved to *above* and *names*.

        *workers* are all workers of the pool. Any that stay cordoned keep their ``since``.
        """
        new = Cordon(above, names, now)
        since = {n: self.since.get(n, now) for n in workers if new.holds(n, traits)}
        return Cordon(above, names, self.at if new.same_as(self) else now, since)


class Orders:
    """The cordon that one worker follows, chosen from the ledger's replies.

    Times are readings (s) of any one clock.
    """

    def __init__(self, name: str, born: float, traits: Traits = DOTTED) -> None:
        self._name = name
        self._traits = traits
        self._cordon = Cordon()
        self._has_reply = False
        self._waits_until = born + traits.waits_for_ledger
        self._keeps_until = 0.0

    def cordon(self, now: float) -> Cordon:
        """Return the cordon that holds this worker, or an empty one."""
        if not self._has_reply and now < self._waits_until:
            return Cordon(names=frozenset({self._name}))
        return self._cordon

    def receive(self, cordon: Cordon, now: float, *, lost: bool) -> None:
        """Follow the pool's *cordon* from the ledger's reply.

        If the ledger has *lost* its data, it may not know which workers the platform is about to
        stop. A cordoned worker then stays cordoned until an evaluation has found out.
        """
        self._has_reply = True
        if lost:
            self._keeps_until = now + KEEPS_CORDON
        if cordon.holds(self._name, self._traits):
            self._cordon = cordon
        elif now >= self._keeps_until:
            self._cordon = Cordon()
