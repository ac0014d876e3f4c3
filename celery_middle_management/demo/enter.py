"""Waits for Enter on a terminal, without echoing it to the screen."""

from __future__ import annotations

import os
import select
import sys
import termios
from contextlib import suppress
from types import TracebackType


class Enter:
    """Notices when Enter is pressed. Within its context, the terminal echoes no keys."""

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
        """Ignore what was pressed before."""
        termios.tcflush(self._file, termios.TCIFLUSH)

    def pressed(self) -> bool:
        """Return True if Enter was pressed after forget(). Ctrl-D or a closed terminal counts."""
        ready, _, _ = select.select([self._file], [], [], 0)
        if not ready:
            return False
        with suppress(OSError):
            os.read(self._file, 1024)
        return True
