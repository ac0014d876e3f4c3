"""An act of the monkey, and the tools for it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.chaos.processes import kill
from tests.chaos.stage import Stage

#: Ends a fault, and may return more facts about it.
Heal = Callable[[], Mapping[str, Any] | None]


class Hands:
    """The tools of the acts; every use of them is recorded."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.random = random.Random(f"monkey-{stage.seed}")
        self.caged = threading.Event()
        self._lasting: list[tuple[float, Callable[[], None]]] = []

    def write(self, kind: str, **facts: Any) -> None:
        self.stage.journal.write(kind, **facts)

    @contextmanager
    def fault(self, what: str, **facts: Any) -> Iterator[None]:
        """Record a fault that is over when the context is left."""
        at = time.time()
        try:
            yield
        finally:
            self.write("fault", at=at, until=time.time(), what=what, **facts)

    def lasting(self, seconds: float, heal: Heal, what: str, **facts: Any) -> None:
        """Have *heal* end a fault that has begun, after *seconds* or when the monkey is caged."""
        at = time.time()

        def over() -> None:
            more = heal() or {}
            self.write("fault", at=at, until=time.time(), what=what, **facts, **more)

        self._lasting.append((time.monotonic() + seconds, over))

    def heal(self, everything: bool = False) -> None:
        """End the lasting faults whose time is over, or all of them."""
        now = time.monotonic()
        over = [heal for until, heal in self._lasting if everything or until <= now]
        self._lasting = [entry for entry in self._lasting if entry[1] not in over]
        for heal in over:
            heal()

    def pause(self, shortest: float, longest: float) -> None:
        self.caged.wait(self.random.uniform(shortest, longest))

    def some_worker(self) -> int | None:
        pids = sorted(self.stage.worker_pids())
        return self.random.choice(pids) if pids else None

    def some_pool(self) -> str | None:
        """Choose a pool whose process type exists."""
        there = self.stage.emulator.quantities()
        pools = [pool for pool in self.stage.pools if pool in there]
        return self.random.choice(pools) if pools else None

    def kill(self, what: str, pid: int, sid: int | None = None, **facts: Any) -> None:
        # Recorded before it is done, so that none of its effects is recorded earlier.
        self.write("killed", what=what, pid=pid, sid=sid, **facts)
        kill(pid)


def always(stage: Stage) -> bool:
    return True


@dataclass(frozen=True)
class Act:
    """How often an act is done, relative to others, and what kind of trouble it is."""

    weight: int
    kind: str
    do: Callable[[Hands], None]
    possible: Callable[[Stage], bool] = always


def await_(
    look: Callable[[], Any], timeout: float, every: float, unless: threading.Event | None = None
) -> Any:
    """Return what *look* finds at last, or None after *timeout* seconds."""
    give_up = time.monotonic() + timeout
    while time.monotonic() < give_up and not (unless and unless.is_set()):
        if found := look():
            return found
        time.sleep(every)
    return None
