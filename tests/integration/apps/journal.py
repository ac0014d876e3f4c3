"""What tasks write down in the directory $JOURNAL, for a test to read."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Run:
    """One run of a task. Times are readings of ``monotonic()``; *end* is None while it runs."""

    task: str
    dyno: str
    pid: int
    begin: float
    redelivered: bool
    end: float | None = None


class Journal:
    """Lines are far shorter than what the system writes at once, so they do not mix."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or Path(os.environ["JOURNAL"])

    def begin(self, task: str, redelivered: bool = False) -> None:
        self._write("begin", task, redelivered)

    def end(self, task: str) -> None:
        self._write("end", task)

    def wait_to_be_let_go(self) -> None:
        token = self._directory / f"go-{os.environ.get('DYNO')}"
        while True:
            with suppress(FileNotFoundError):
                token.unlink()
                return
            time.sleep(0.02)

    def let_go(self, dyno: str) -> None:
        """End one task that this dyno holds, or will hold."""
        (self._directory / f"go-{dyno}").touch()

    def runs(self) -> list[Run]:
        """In the order of their begin."""
        runs: dict[tuple[str, int], Run] = {}
        done = []
        lines = self._directory.joinpath("runs")
        text = lines.read_text() if lines.exists() else ""
        # The last line may be seen half written.
        for line in text[: text.rfind("\n") + 1].splitlines():
            # Older releases, in the test of two of them, do not tell whether it was redelivered.
            event, task, dyno, pid, at, *redelivered = json.loads(line)
            if event == "begin":
                runs[task, pid] = Run(task, dyno, pid, at, any(redelivered))
                done.append(runs[task, pid])
            else:
                runs[task, pid].end = at
        return done

    def _write(self, event: str, task: str, redelivered: bool = False) -> None:
        dyno = os.environ.get("DYNO", "")
        line = json.dumps([event, task, dyno, os.getpid(), time.monotonic(), redelivered])
        with (self._directory / "runs").open("a") as file:
            file.write(line + "\n")
