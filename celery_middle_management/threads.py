"""Threads of ours, which work for the app, and not for whoever happens to start them."""

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

    In that of the caller, a request that publishes first, its trace would never end: what
    instruments threads hands the context on to those that are started, and some Pythons do.

    Raises:
        RuntimeError: the interpreter shuts down.
    """
    thread = threading.Thread(target=_run_untraced, args=(target, *args), name=name, daemon=True)
    contextvars.Context().run(thread.start)
    return thread


def sleep(seconds: float) -> None:
    """As ``time.sleep()``; as a greenlet of gevent's it is not waited for by ``gevent.wait()``,
    which else would never end.
    """
    if are_greenlets():
        sys.modules["gevent"].sleep(seconds, ref=False)
    else:
        time.sleep(seconds)


def are_greenlets() -> bool:
    """Whether threads that are started now are greenlets of gevent's."""
    monkey: Any = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def _run_untraced(target: Callable[..., object], *args: object) -> None:
    # OpenTelemetry, if the app has it: each look into the ledger would be a trace of its own.
    utils: Any = sys.modules.get("opentelemetry.instrumentation.utils")
    with getattr(utils, "suppress_instrumentation", nullcontext)():
        target(*args)
