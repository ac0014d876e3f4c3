"""Waits for Enter on a terminal, without a line of it on the screen."""

from __future__ import annotations

import os
import select
import sys
import termios
from contextlib import suppress
from types import TracebackType


class Enter:
    """Tells when Enter was pressed; as long as its context lasts, the terminal shows no keys."""

    def __enter__(self) -> Enter:
        self._file = sys.stdin.fileno()
        self._before = termios.tcgetattr(self._file)
        silent = termios.tcgetattr(self._file)
        silent[3] &= ~termios.ECHO
        termios.tcsetattr(self._file, termios.TCSANOW, silent)
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        termios.tcsetattr(self._file, termios.TCSANOW, self._before)

    def forget(self) -> None:
        """What was pressed before does not count."""
        termios.tcflush(self._file, termios.TCIFLUSH)

    def pressed(self) -> bool:
        """Whether it was since; Ctrl-D, or a terminal that is gone, counts too."""
        ready, _, _ = select.select([self._file], [], [], 0)
        if not ready:
            return False
        with suppress(OSError):
            os.read(self._file, 1024)
        return True
