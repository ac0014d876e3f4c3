"""One status document for many scrapes, and a server that a client can neither stop nor fill."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from celery_middle_management.web import prometheus
from celery_middle_management.web.latest_status import LatestStatus
from celery_middle_management.web.metrics_server import MOST_CLIENTS, SILENCE, MetricsServer
from tests.servers import wait_for
from tests.unit.test_status_page import everything

APP: Any = object()
LONG = 3600.0


class Reads:
    """Reads a document when it is told to go on, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.go_on = threading.Event()
        self.error: Exception | None = None

    def __call__(self, _: object) -> dict[str, Any]:
        self.asked += 1
        assert self.go_on.wait(60)
        if self.error:
            raise self.error
        return {"reading": self.asked}


def test_many_readers_cost_what_one_does() -> None:
    reads = Reads()
    latest = LatestStatus(reads, fresh=LONG)
    with ThreadPoolExecutor(20) as readers:
        documents = [readers.submit(latest.of, APP) for _ in range(20)]
        wait_for(lambda: reads.asked)
        reads.go_on.set()
        assert [each.result() for each in documents] == [{"reading": 1}] * 20
    assert latest.of(APP) == {"reading": 1}


def test_a_document_that_is_not_fresh_is_read_again() -> None:
    reads = Reads()
    reads.go_on.set()
    latest = LatestStatus(reads, fresh=0.0)
    assert [latest.of(APP), latest.of(APP)] == [{"reading": 1}, {"reading": 2}]


def test_while_a_reading_hangs_readers_give_up_and_no_other_is_begun() -> None:
    reads = Reads()
    latest = LatestStatus(reads, fresh=0.0, patience=0.01)
    assert [latest.of(APP) for _ in range(5)] == [None] * 5
    assert reads.asked == 1
    reads.go_on.set()
    wait_for(lambda: latest.of(APP) is not None)


def test_a_failed_reading_is_over_at_once_and_logged_in_one_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celery_middle_management.web.latest_status._log._last", {})
    reads = Reads()
    reads.error = ConnectionError("no\nRedis")
    reads.go_on.set()
    latest = LatestStatus(reads, fresh=LONG, patience=60.0)
    assert [latest.of(APP), latest.of(APP)] == [None, None]
    assert reads.asked == 1
    assert caplog.messages == ["the status could not be read: no Redis"]


def test_if_no_thread_can_be_started_the_next_reader_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads = Reads()
    reads.go_on.set()
    latest = LatestStatus(reads, fresh=LONG)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", _no_thread)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            latest.of(APP)
    assert latest.of(APP) == {"reading": 1}


def _no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


class App:
    """What the server takes for a managed app."""


@pytest.fixture
def read() -> Callable[[object], dict[str, Any]]:
    return lambda _: everything()


@pytest.fixture
def server(read: Callable[[object], dict[str, Any]]) -> Iterator[MetricsServer]:
    app: Any = App()
    prometheus._latest[app] = LatestStatus(read, fresh=0.0)
    with MetricsServer(app, "127.0.0.1", 0) as listening:
        listening.start()
        yield listening
        listening.shutdown()


def get(url: str, **headers: str) -> tuple[str, str]:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
        return answer.read().decode(), answer.headers["Content-Type"]


def test_it_serves_both_formats(server: MetricsServer) -> None:
    text, content_type = get(server.url)
    assert "\ncelery_mm_up 1.0\n" in text
    assert content_type.startswith("text/plain; version=0.0.4")
    text, content_type = get(server.url + "?x=1", Accept="application/openmetrics-text")
    assert text.endswith("# EOF\n")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")


def test_it_serves_nothing_else(server: MetricsServer) -> None:
    with pytest.raises(urllib.error.HTTPError) as missing:
        get(server.url + "/more")
    assert (missing.value.code, missing.value.read()) == (404, b"The metrics are at /metrics.\n")
    with pytest.raises(urllib.error.HTTPError, match="501"):
        urllib.request.urlopen(server.url, data=b"", timeout=30)


def test_clients_that_say_nothing_cannot_use_up_its_threads(server: MetricsServer) -> None:
    before = threading.active_count()
    address: Any = server.server_address
    with ExitStack() as silent:
        clients = [
            silent.enter_context(socket.create_connection(address)) for _ in range(MOST_CLIENTS)
        ]
        wait_for(lambda: threading.active_count() == before + MOST_CLIENTS)
        with socket.create_connection(address) as one_more:
            assert one_more.recv(1) == b"", "it is closed"
        assert threading.active_count() == before + MOST_CLIENTS
        clients[0].close()
        wait_for(lambda: threading.active_count() < before + MOST_CLIENTS)
        assert "celery_mm_up 1.0" in get(server.url)[0]


def test_a_client_that_says_nothing_is_not_waited_for(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    request: Any = server.RequestHandlerClass
    assert request.timeout == SILENCE
    monkeypatch.setattr(request, "timeout", 0.05)
    address: Any = server.server_address
    with socket.create_connection(address, timeout=30) as client:
        assert client.recv(1) == b""


@pytest.mark.parametrize("read", [lambda _: {}])
def test_a_fault_of_ours_is_logged_and_the_server_goes_on(
    server: MetricsServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celery_middle_management.web.metrics_server._log._last", {})
    for _ in range(2 * MOST_CLIENTS):
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            get(server.url)
    assert caplog.messages == ["a request for metrics failed: KeyError: 'pools'"]


def test_a_taken_port(server: MetricsServer) -> None:
    app: Any = App()
    with pytest.raises(OSError, match="in use"):
        MetricsServer(app, "127.0.0.1", server.server_address[1])


def test_ipv6() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    app: Any = App()
    try:
        with MetricsServer(app, "::1", 0) as server:
            assert server.url == f"http://[::1]:{server.server_address[1]}/metrics"
    except OSError as error:
        pytest.skip(f"no IPv6: {error}")
