"""Threads that work for the app as a whole, not for the request that happens to start them."""

from __future__ import annotations

import contextvars
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any


def start(name: str, target: Callable[..., object], *args: object) -> threading.Thread:
    """Run *target* in a daemon thread, in an empty context, and untraced.

    The caller may be the first request that publishes. If the thread inherited its context, as
    some instrumentation and some releases of Python arrange, the request's trace would never end.

    Raises:
        RuntimeError: the interpreter is shutting down.
    """
    thread = threading.Thread(target=_run_untraced, args=(target, *args), name=name, daemon=True)
    contextvars.Context().run(thread.start)
    return thread


def sleep(seconds: float) -> None:
    """Sleep. In a gevent greenlet, ``gevent.wait()`` does not wait for this sleep to end."""
    if are_greenlets():
        sys.modules["gevent"].sleep(seconds, ref=False)
    else:
        time.sleep(seconds)


def are_greenlets() -> bool:
    """True if new threads are gevent greenlets."""
    monkey: Any = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def _run_untraced(target: Callable[..., object], *args: object) -> None:
    # With OpenTelemetry, each call to the ledger would be a trace of its own.
    utils: Any = sys.modules.get("opentelemetry.instrumentation.utils")
    with getattr(utils, "suppress_instrumentation", nullcontext)():
        target(*args)
