"""The server of ``mm run --metrics-port``: it serves ``/metrics``, and nothing else."""

from __future__ import annotations

import logging
import re
import socket
import socketserver
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from time import monotonic
from typing import Any

from celery_middle_management import threads
from celery_middle_management.log_throttle import LogThrottle
from celery_middle_management.managed_app import ManagedApp
from celery_middle_management.web.prometheus import exposition

#: It closes further connections, so that clients that hang cannot use up the process's threads.
MOST_CLIENTS = 8
#: It closes a connection over which nothing has come for this time (s), and one that is as old as
#: that: a client may send a byte now and then.
SILENCE, LONGEST = 10.0, 30.0
#: The end of a host's name in a request.
_PORT = re.compile(r":\d*$")

_log = LogThrottle(logging.getLogger("celery_middle_management"))


class MetricsServer(socketserver.TCPServer):
    """Serves an app's metrics in threads of its own, a few at most."""

    allow_reuse_address = True

    def __init__(self, managed: ManagedApp, host: str, port: int) -> None:
        """Listen. Connections are answered from :meth:`start` on.

        Raises:
            OSError: the port is taken, or the host is not this machine.
        """
        self.managed, self.host = managed, host
        self._free = threading.Semaphore(MOST_CLIENTS)
        #: When each connection is closed.
        self._until: dict[socket.socket, float] = {}
        self.address_family = socket.getaddrinfo(host, port)[0][0]
        super().__init__((host, port), _Request)

    @property
    def url(self) -> str:
        """Where the metrics are."""
        host, port = self.server_address[:2]
        return f"http://{f'[{host!s}]' if ':' in str(host) else host!s}:{port}/metrics"

    def start(self) -> None:
        """Answer connections from now on."""
        threads.start("mm-metrics", self.serve_forever)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in a thread, or close it if there are too many."""
        if self._free.acquire(blocking=False):
            self._until[request] = monotonic() + LONGEST
            try:
                threads.start("mm-scrape", self._answer, request, client_address)
            except RuntimeError:  # no more threads
                self._end(request)
                raise
        else:
            self.shutdown_request(request)

    def _answer(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except Exception:  # noqa: BLE001 - the next scrape may go well
            self.handle_error(request, client_address)
        finally:
            self.shutdown_request(request)
            self._end(request)

    def _end(self, request: Any) -> None:
        self._until.pop(request, None)
        self._free.release()

    def service_actions(self) -> None:
        """Close connections that are too old; called twice a second."""
        now = monotonic()
        for request, until in list(self._until.items()):
            if until <= now:
                with suppress(OSError):  # it is closed already
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong, unless it is that the client has gone."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            _log.error(
                "scrape", "a request for metrics failed: %s: %s", type(error).__name__, error
            )


class _Request(BaseHTTPRequestHandler):
    timeout = SILENCE
    server: MetricsServer

    def do_GET(self) -> None:
        if not self._host_is_ours():
            self._send(403, b"The metrics are not at this host.\n", "text/plain; charset=utf-8")
        elif self.path.partition("?")[0] == "/metrics":
            body, content_type = exposition(self.server.managed, self.headers.get("Accept", ""))
            self._send(200, body, content_type)
        else:
            self._send(404, b"The metrics are at /metrics.\n", "text/plain; charset=utf-8")

    def _host_is_ours(self) -> bool:
        """Return whether the name in the request may be this server's.

        If only this machine can reach it, the name must be this machine's: a site may have its own
        name lead here, so that its scripts can read the metrics.
        """
        if not ip_address(str(self.server.server_address[0])).is_loopback:
            return True
        host = _PORT.sub("", self.headers.get("Host", "")).lower()
        return host in (self.server.host.lower(), "localhost", "127.0.0.1", "[::1]")

    def _send(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: a request comes every few seconds."""
