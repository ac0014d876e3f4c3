"""Wakes an event loop of kombu's."""

from __future__ import annotations

import os


class Bell:
    """Has an event loop turn once more: what is done while it prepares to wait goes unseen."""

    def __init__(self) -> None:
        self.fd, self._rings = os.pipe()
        self._rung = False

    def ring(self) -> None:
        """Have it heard, once however often it is rung."""
        if not self._rung:
            self._rung = True
            os.write(self._rings, b"!")

    def answer(self) -> None:
        """It was heard."""
        self._rung = False
        os.read(self.fd, 1)
