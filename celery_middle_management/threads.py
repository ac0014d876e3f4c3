"""Threads of ours, which work for the app, and not for whoever happens to start them."""

from __future__ import annotations

import contextvars
import sys
import threading
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


def _run_untraced(target: Callable[..., object], *args: object) -> None:
    # OpenTelemetry, if the app has it: each look into the ledger would be a trace of its own.
    utils: Any = sys.modules.get("opentelemetry.instrumentation.utils")
    with getattr(utils, "suppress_instrumentation", nullcontext)():
        target(*args)
