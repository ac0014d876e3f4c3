"""Trouble on demand."""

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

#: How many dynos are started for the one that is asked for.
COPIES: dict[Kind, int] = {"skip": 0, "double": 2}
ONE_OFFS = re.compile(r"/apps/[^/]+/dynos")


@dataclass(eq=False)
class Fault:
    """What goes wrong with the requests that it is for.

    Attributes:
        kind: ``status`` answers with that status; ``garbage`` with 200 and no JSON; ``hang``
            never, until the faults are cleared; ``late_before`` carries the request out
            ``seconds`` later; ``late_after`` at once, and answers ``seconds`` later; ``drop``
            closes the connection; ``drop_after`` carries the request out first. ``later_*``
            gives no good answer, and carries the request out ``seconds`` later, whatever
            becomes of the fault or of the connection meanwhile: ``later_error`` answers at once
            with that status, ``later_hang`` never, ``later_reset`` resets the connection. Only
            ``late_*``, ``later_*`` and ``drop_after`` carry it out. Two are for requests for a
            one-off dyno alone, and answer as if all were well: ``skip`` starts none, ``double``
            two, of which it tells one.
        status: for ``status`` and ``later_error``.
        count: how many requests it is for; None: until cleared.
        seconds: for ``late_*`` and ``later_*``; or what draws them for each request anew, so that
            requests are carried out in another order than they came in.
        retry_after: the header of that name, seconds or an HTTP date, for ``status``.
        methods: the HTTP methods that it is for; None: all.
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
        """The seconds for one request."""
        return self.seconds() if callable(self.seconds) else self.seconds

    def is_for(self, method: str, path: str) -> bool:
        return (
            (self.count is None or self.count > 0)
            and (self.methods is None or method in self.methods)
            and (self.kind not in COPIES or (method == "POST" and bool(ONE_OFFS.fullmatch(path))))
            and time.monotonic() < self.until
        )


class Faults:
    """Thread-safe; the oldest fault that is for a request is the one that it meets."""

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
        """Ends them; requests that hang are dropped."""
        with self._lock:
            for fault in self._faults:
                fault.cleared.set()
            self._faults.clear()
