"""The emulator over HTTP: authentication, faults, and a record of every request."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import socketserver
import struct
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from .answers import Answer, Refusal
from .api import Api
from .faults import COPIES, Fault, Faults

ERROR_IDS = {403: "forbidden", 429: "rate_limit", 503: "service_unavailable"}


@dataclass
class Request:
    """One request, and its outcome.

    ``at`` is monotonic; ``at_wall`` and ``done_at`` are in seconds since the epoch. ``status`` is
    None if there is no answer (yet). ``met`` is the kind of fault that it met. ``done_at`` is when
    it was carried out, whether granted or refused; None: not (yet).
    """

    at: float
    at_wall: float
    method: str
    path: str
    body: str
    status: int | None = None
    met: str | None = None
    done_at: float | None = None


class Server(ThreadingHTTPServer):
    """A server that ends its connections and joins their threads when it is closed."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, port: int, api: Api, faults: Faults, accepts: Callable[[str], bool]) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.api = api
        self.faults = faults
        self.accepts = accepts
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        self._later: set[threading.Timer] = set()

    @property
    def pending(self) -> int:
        """The number of requests that will still be carried out, though they got no good answer."""
        return sum(timer.is_alive() for timer in self._later)

    def later(self, seconds: float, work: Callable[[], object]) -> None:
        """Do *work* after a delay, unless the server is closed meanwhile."""
        timer = threading.Timer(seconds, work)
        self._later = {other for other in self._later if other.is_alive()} | {timer}
        timer.start()

    def server_bind(self) -> None:
        # HTTPServer's own method asks the DNS for our name.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])

    def opened(self, connection: socket.socket) -> None:
        with self._connections_lock:
            self._connections.add(connection)
            if self.closing.is_set():
                connection.shutdown(socket.SHUT_RDWR)

    def closed(self, connection: socket.socket) -> None:
        with self._connections_lock:
            self._connections.discard(connection)

    def server_close(self) -> None:
        self.closing.set()
        self.faults.clear()
        with self._connections_lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        super().server_close()
        for timer in self._later:
            timer.cancel()
            timer.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet per answer; otherwise Nagle's algorithm delays every second one
    server: Server

    def setup(self) -> None:
        super().setup()
        with contextlib.suppress(OSError):
            self.server.opened(self.connection)

    def finish(self) -> None:
        self.server.closed(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client left
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing; see Server.requests."""

    def do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        request = Request(
            time.monotonic(), time.time(), self.command, urlsplit(self.path).path, body
        )
        self.server.requests.append(request)
        answer = self._answer(request)
        if answer is None:
            self.close_connection = True
        else:
            request.status = answer.status
            self._send(answer)

    do_GET = do_PATCH = do_POST = do_DELETE = do_PUT = do

    def _answer(self, request: Request) -> Answer | None:
        fault = self.server.faults.take(request.method, request.path)
        if fault is None:
            return self._carry_out(request)
        request.met = fault.kind
        if fault.kind.startswith("later_"):
            self.server.later(fault.drawn(), lambda: self._carry_out(request))
        return self._meet(fault, request)

    def _meet(self, fault: Fault, request: Request) -> Answer | None:
        if fault.kind in ("hang", "later_hang"):
            fault.cleared.wait()
        elif fault.kind in ("status", "later_error"):
            return _error(fault)
        elif fault.kind == "later_reset":
            reset = struct.pack("ii", 1, 0)  # on, with a timeout of 0
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        elif fault.kind == "garbage":
            return Answer(200, b"<html><h1>Application error</h1></html>")
        elif fault.kind == "late_before" and not self.server.closing.wait(fault.drawn()):
            return self._carry_out(request)
        elif fault.kind in ("late_after", "drop_after"):
            answer = self._carry_out(request)
            self.server.closing.wait(fault.drawn())
            return answer if fault.kind == "late_after" else None
        elif fault.kind in COPIES:
            return self._carry_out(request, COPIES[fault.kind])
        return None

    def _carry_out(self, request: Request, copies: int = 1) -> Answer:
        request.done_at = time.time()
        try:
            self._authenticate()
            range_ = self.headers.get("Range")
            return self.server.api.handle(
                request.method, request.path, request.body, range_, copies
            )
        except Refusal as refusal:
            return refusal.answer

    def _authenticate(self) -> None:
        scheme, _, credentials = self.headers.get("Authorization", "").partition(" ")
        key = credentials
        if scheme == "Basic":
            with contextlib.suppress(ValueError):
                key = base64.b64decode(credentials).decode().partition(":")[2]
        if not self.server.accepts(key):
            raise Refusal(401, "unauthorized", "Invalid credentials provided.")

    def _send(self, answer: Answer) -> None:
        content = answer.payload
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Request-Id", str(uuid.uuid4()))
        self.send_header("RateLimit-Remaining", str(self.server.api.rate_limit_remaining))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _error(fault: Fault) -> Answer:
    id = ERROR_IDS.get(fault.status, "internal_server_error")
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    return Answer(fault.status, {"id": id, "message": f"Emulated: {id}."}, headers)
