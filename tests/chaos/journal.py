"""What happened, event by event, in one file that every process appends to.

An event is one line of JSON, written by one ``write`` to a file opened with ``O_APPEND``. So the
lines of several processes do not mix, and a killed process leaves only whole lines behind. Times
(``at``, ``until``) are ``time.time()`` of this machine.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

Event = dict[str, Any]


class Journal:
    """Appends events to the file. Safe to use after a fork, and from several threads."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, kind: str, **facts: Any) -> None:
        """Append an event that happens now, unless *facts* give another ``at``."""
        line = json.dumps({"kind": kind, "at": time.time(), **facts}, separators=(",", ":"))
        os.write(self._file, line.encode() + b"\n")


class Follower:
    """Reads the events that were appended since its last read."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._offset = 0

    def read(self) -> list[Event]:
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self._offset += whole
        return [json.loads(line) for line in data[:whole].splitlines()]


def read(path: str | os.PathLike[str]) -> list[Event]:
    """All events, the oldest first."""
    return sorted(Follower(path).read(), key=lambda event: float(event["at"]))
