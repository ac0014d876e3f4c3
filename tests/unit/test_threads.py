"""Threads of ours work for the app as a whole, not for the request that starts them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import SimpleNamespace

import pytest

from celery_middle_management import threads

suppressed: ContextVar[bool] = ContextVar("suppressed", default=False)
request: ContextVar[str] = ContextVar("request", default="")


@contextmanager
def suppress_instrumentation() -> Iterator[None]:
    token = suppressed.set(True)
    yield
    suppressed.reset(token)


def test_no_call_of_ours_is_traced_where_opentelemetry_is(monkeypatch: pytest.MonkeyPatch) -> None:
    utils = SimpleNamespace(suppress_instrumentation=suppress_instrumentation)
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation.utils", utils)  # type: ignore[arg-type]
    seen: list[bool] = []
    threads.start("mm-test", lambda: seen.append(suppressed.get())).join(30)
    assert seen == [True]
    assert not suppressed.get()


def test_nothing_of_the_caller_is_seen() -> None:
    seen: list[str] = []
    token = request.set("a request")
    try:
        threads.start("mm-test", lambda: seen.append(request.get())).join(30)
        assert request.get() == "a request"
    finally:
        request.reset(token)
    assert seen == [""]
