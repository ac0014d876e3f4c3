"""A server of metrics that a client can neither stop nor fill."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from click.testing import CliRunner

from celery_middle_management.cli.common import CouldNot, UsedWrongly
from celery_middle_management.cli.run import _metrics_server, run
from celery_middle_management.web import latest_status
from celery_middle_management.web.latest import Latest
from celery_middle_management.web.metrics_server import MOST_CLIENTS, SILENCE, MetricsServer
from tests.servers import wait_for
from tests.unit.test_status_page import everything


class App:
    """What the server takes for a managed app."""


@pytest.fixture
def read() -> Callable[[object], dict[str, Any]]:
    return lambda _: everything()


@pytest.fixture
def server(read: Callable[[object], dict[str, Any]]) -> Iterator[MetricsServer]:
    app: Any = App()
    latest_status._latest[app] = Latest(lambda: read(app), 0.0, "test")
    listening = MetricsServer(app, "127.0.0.1", 0)
    listening.start()
    yield listening

    def close() -> None:
        listening.shutdown()
        listening.server_close()

    threading.Thread(target=close).start()  # it takes half a second


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
    def scrapes() -> int:
        return [thread.name for thread in threading.enumerate()].count("mm-scrape")

    wait_for(lambda: scrapes() == 0)
    address: Any = server.server_address
    with ExitStack() as silent:
        clients = [
            silent.enter_context(socket.create_connection(address)) for _ in range(MOST_CLIENTS)
        ]
        wait_for(lambda: scrapes() == MOST_CLIENTS)
        with socket.create_connection(address) as one_more:
            assert one_more.recv(1) == b"", "it is closed"
        assert scrapes() == MOST_CLIENTS
        clients[0].close()
        wait_for(lambda: scrapes() < MOST_CLIENTS)
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


def test_a_client_that_says_a_little_now_and_then_is_not_waited_for_for_ever(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celery_middle_management.web.metrics_server.LONGEST", 0.2)
    address: Any = server.server_address
    with socket.create_connection(address, timeout=30) as client:

        def closed() -> bool:
            try:
                client.sendall(b"GET"[:1])
            except OSError:
                return True
            return False

        wait_for(closed, 10)
    wait_for(lambda: not server._until)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "", "[evil"])
def test_a_name_that_another_site_lets_lead_here_gets_no_metrics(
    server: MetricsServer, host: str
) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        get(server.url, Host=host)
    for ours in ("127.0.0.1", "localhost:9000", "[::1]:9000"):
        assert "celery_mm_up" in get(server.url, Host=ours)[0]


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


@pytest.mark.parametrize(
    ("host", "why"),
    [("192.0.2.1", "Cannot assign requested address"), ("x" * 99, "label")],
)
def test_a_host_that_is_not_this_machine(host: str, why: str) -> None:
    app: Any = App()
    with pytest.raises(CouldNot, match=f"metrics cannot be served at port 0 of {host}: .*{why}"):
        _metrics_server(app, host, 0)


def test_a_host_without_a_port() -> None:
    app: Any = App()
    assert _metrics_server(app, None, None) is None
    with pytest.raises(UsedWrongly, match="--metrics-host needs --metrics-port"):
        _metrics_server(app, "0.0.0.0", None)


def test_its_port_is_one_that_there_can_be() -> None:
    told = CliRunner().invoke(run, ["--metrics-port", "65536"])
    assert told.exit_code == 2
    assert "65536 is not in the range 0<=x<=65535" in told.output


def test_ipv6() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    app: Any = App()
    try:
        with MetricsServer(app, "::1", 0) as server:
            assert server.url == f"http://[::1]:{server.server_address[1]}/metrics"
    except OSError as error:
        pytest.skip(f"no IPv6: {error}")
