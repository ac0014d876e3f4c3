"""Imports that happen late, in whatever thread: a child forked meanwhile must not find them half
done, for it would wait for ever for the thread that it does not have.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.RLock()


@contextmanager
def no_fork_meanwhile() -> Iterator[None]:
    """Nobody forks meanwhile."""
    with _lock:
        yield


os.register_at_fork(
    before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
)
