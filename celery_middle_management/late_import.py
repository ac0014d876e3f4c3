"""Imports that happen late, undisturbed by a fork or by gevent's and eventlet's patches.

A child that is forked while another thread imports finds the module half made, and waits for ever
for a thread that it does not have. And an import that is under way while gevent or eventlet
replaces Python's locks may never end, because its own lock is one of them.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from celery_middle_management import threads
from celery_middle_management.log_throttle import LogThrottle

logger = logging.getLogger("celery_middle_management")

#: The modules that replace Python's locks.
_PATCHERS = frozenset({"gevent.monkey", "eventlet.patcher"})
#: Importing one of them waits no longer than this (s) for our imports to end.
_LONGEST_WAIT = 10.0

#: Held while a thread imports.
_lock = threading.RLock()
#: Imports that were begun and are not over.
_under_way: set[threading.Event] = set()


@contextmanager
def no_fork_meanwhile() -> Iterator[None]:
    """Keep every other thread from forking."""
    with _lock:
        yield


def locks_may_be_patched() -> bool:
    """Return whether a library is loaded that may replace Python's locks at any moment."""
    return not _PATCHERS.isdisjoint(sys.modules)


class LateImport:
    """Modules that a process imports when it turns out to need them, at most once."""

    def __init__(self, import_modules: Callable[[], None]) -> None:
        self._import_modules = import_modules
        self._begun = False
        self._done = False
        self._trouble = LogThrottle(logger)

    def begin(self) -> None:
        """Import in a thread of its own, so that the caller does not wait.

        If Python's locks may be patched at any moment, import here and now. If not, importing a
        library that patches them waits until our import is over.
        """
        if self._begun:
            return
        self._begun = True
        over = threading.Event()
        _under_way.add(over)
        if _barrier not in sys.meta_path:
            sys.meta_path.insert(0, _barrier)
        if locks_may_be_patched():
            self._finish(over)
            return
        try:
            threads.start("mm-import", self._finish, over)
        except RuntimeError:  # The interpreter is ending. The code that needs them imports them.
            _end(over)

    def finish(self) -> None:
        """Import now, or wait until another thread has done so."""
        if not self._done:
            with no_fork_meanwhile():
                if not self._done:
                    self._import_modules()
                    self._begun = self._done = True

    def after_fork(self) -> None:
        """Begin anew in a child, which lacks the thread that its parent may have started."""
        self._begun = self._done

    def _finish(self, over: threading.Event) -> None:
        with self._trouble.guard("an import"):
            self.finish()
        _end(over)


class _Barrier(MetaPathFinder):
    """Delays the import of what patches Python's locks until our own imports are over.

    It stays in ``sys.meta_path``: if it were removed, an import under way elsewhere could miss the
    finder behind it.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _PATCHERS or not _under_way:
            return None
        for finder in sys.meta_path:
            find: Any = None if finder is self else getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find and find(fullname, path, target)
            if spec is not None:
                # Wait later: while Python finds a module, it holds a lock that all imports need.
                spec.loader.create_module = _wait  # type: ignore[union-attr, method-assign]
                return spec
        return None


def _wait(spec: ModuleSpec) -> None:
    """Wait until our imports are over. Returns None, so that Python makes the module as usual."""
    # A loader may serve other modules as well, such as ours in the same zip file.
    for over in tuple(_under_way) if spec.name in _PATCHERS else ():
        over.wait(_LONGEST_WAIT)


_barrier = _Barrier()


def _end(over: threading.Event) -> None:
    _under_way.discard(over)
    over.set()


def _after_in_child() -> None:
    _under_way.clear()
    _lock.release()


os.register_at_fork(
    before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_after_in_child
)
