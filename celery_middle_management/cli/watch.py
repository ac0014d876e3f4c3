"""``celery mm status --watch``: shown anew, until Ctrl-C or until nothing is left to do."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from click import ClickException
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from celery_middle_management.cli.common import show
from celery_middle_management.cli.status_screen import status_screen

#: Seconds between two looks.
INTERVAL = 2.0

Document = Mapping[str, Any]


class Watch:
    """Shows a status again and again, until Ctrl-C or until its condition is met.

    Args:
        status: returns the document to show; a ClickException is shown, and the watch goes on.
        until: whether the watch is over, by the latest document.
        full: whether every pool is shown in full.
        no_color: whether to print without colour.
    """

    def __init__(
        self,
        status: Callable[[], Document],
        until: Callable[[Document], bool],
        *,
        full: bool,
        no_color: bool,
    ) -> None:
        self._status = status
        self._until = until
        self._full = full
        self._console = Console(no_color=no_color or None)
        self._last: RenderableType = ""
        self._well = True
        self._over = False

    def run(self) -> bool:
        """Watch until the end; return whether all was well then."""
        # Ctrl-C is only noted: an exception could leave the screen or the connection half done.
        before = signal.signal(signal.SIGINT, self._stop)
        try:
            if not self._console.is_terminal:
                self._follow(lambda screen: show(screen, self._console))
                return self._well
            with Live(console=self._console, auto_refresh=False, screen=True) as live:
                self._follow(lambda screen: live.update(screen, refresh=True))
            # Leaving the alternate screen has erased the last picture.
            self._console.print(self._last, end="")
            return self._well
        finally:
            signal.signal(signal.SIGINT, before)

    def _stop(self, *_: object) -> None:
        self._over = True

    def _follow(self, display: Callable[[RenderableType], None]) -> None:
        while not self._over:
            self._look()
            display(self._last)
            again = time.monotonic() + INTERVAL
            while not self._over and time.monotonic() < again:
                time.sleep(0.1)

    def _look(self) -> None:
        try:
            document = self._status()
        except ClickException as error:
            self._last = Text(f"WRONG  {error.message}\n", style="bold red")
            self._well = False
            return
        self._last = status_screen(document, full=self._full)
        self._well = not document["trouble"]
        if self._until(document):
            self._over = True
