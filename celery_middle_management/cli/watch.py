"""``celery mm status --watch``: the status refreshed until Ctrl-C or until a condition is met."""

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

#: Seconds from one refresh to the next.
INTERVAL = 2.0

Document = Mapping[str, Any]


class Watch:
    """Shows a status, refreshed until Ctrl-C or until a condition is met.

    Args:
        status: returns the document to show; a ClickException is shown in its place.
        until: returns True for the document after which the watch ends.
        full: show every pool in full.
        no_color: print without colour.
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
        """Watch, and return whether all was well at the end."""
        # A KeyboardInterrupt could strike in the middle of a call to Redis and be lost there.
        before = signal.signal(signal.SIGINT, self._stop)
        try:
            if not self._console.is_terminal:
                self._follow(lambda screen: show(screen, self._console))
                return self._well
            with Live(console=self._console, auto_refresh=False, screen=True) as live:
                self._follow(lambda screen: live.update(screen, refresh=True))
            # Leaving the alternate screen erased the last picture.
            self._console.print(self._last, end="")
            return self._well
        finally:
            signal.signal(signal.SIGINT, before)

    def _stop(self, *_: object) -> None:
        self._over = True

    def _follow(self, display: Callable[[RenderableType], None]) -> None:
        while not self._over:
            self._refresh()
            display(self._last)
            again = time.monotonic() + INTERVAL
            while not self._over and time.monotonic() < again:
                time.sleep(0.1)

    def _refresh(self) -> None:
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
