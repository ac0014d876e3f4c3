"""Faults on demand."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal[
    "status",
    "garbage",
    "hang",
    "late_before",
    "late_after",
    "drop",
    "drop_after",
    "later_error",
    "later_hang",
    "later_reset",
    "skip",
    "double",
]

#: How many dynos are started per requested dyno.
COPIES: dict[Kind, int] = {"skip": 0, "double": 2}
ONE_OFFS = re.compile(r"/apps/[^/]+/dynos")


@dataclass(eq=False)
class Fault:
    """What goes wrong with some requests.

    Attributes:
        kind: ``status`` answers with that status; ``garbage`` answers 200 without JSON; ``hang``
            does not answer until the faults are cleared; ``late_before`` carries the request out
            ``seconds`` later; ``late_after`` carries it out at once and answers ``seconds`` later;
            ``drop`` closes the connection; ``drop_after`` carries the request out first.
            ``later_*`` gives no good answer, and carries the request out ``seconds`` later, even
            if the fault or the connection has ended by then: ``later_error`` answers at once with
            that status, ``later_hang`` does not answer, ``later_reset`` resets the connection.
            Only ``late_*``, ``later_*`` and ``drop_after`` carry the request out. Two kinds affect
            only requests for a one-off dyno, and answer as if all were well: ``skip`` starts none,
            ``double`` starts two and shows one of them.
        status: for ``status`` and ``later_error``.
        count: how many requests it affects; None: until cleared.
        seconds: for ``late_*`` and ``later_*``; or a function that draws them for each request, so
            that requests are carried out in another order than they arrived.
        retry_after: the header of that name, seconds or an HTTP date, for ``status``.
        methods: the HTTP methods that it affects; None: all.
        until: the monotonic time at which it ends by itself.
    """

    kind: Kind
    status: int
    count: int | None
    seconds: float | Callable[[], float]
    retry_after: float | str | None
    methods: Collection[str] | None
    until: float
    cleared: threading.Event = field(default_factory=threading.Event)

    def drawn(self) -> float:
        """The delay (s) for one request."""
        return self.seconds() if callable(self.seconds) else self.seconds

    def is_for(self, method: str, path: str) -> bool:
        return (
            (self.count is None or self.count > 0)
            and (self.methods is None or method in self.methods)
            and (self.kind not in COPIES or (method == "POST" and bool(ONE_OFFS.fullmatch(path))))
            and time.monotonic() < self.until
        )


class Faults:
    """The current faults. Thread-safe; a request meets the oldest fault that affects it."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def take(self, method: str, path: str) -> Fault | None:
        with self._lock:
            fault = next((fault for fault in self._faults if fault.is_for(method, path)), None)
            if fault is not None and fault.count is not None:
                fault.count -= 1
            return fault

    def clear(self) -> None:
        """End all faults; requests that hang are dropped."""
        with self._lock:
            for fault in self._faults:
                fault.cleared.set()
            self._faults.clear()
