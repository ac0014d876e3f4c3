"""A real HTTP server that gets the webhook's messages, and behaves as badly as it is told to."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

#: The path of its address, which is the secret.
SECRET_PATH = "services/T0SECRET/B0SECRET/hook-Pass"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def answer(status: int, *headers: str) -> bytes:
    """An answer without a body."""
    lines = (f"HTTP/1.1 {status} As told", "Content-Length: 0", *headers, "", "")
    return "\r\n".join(lines).encode()


@dataclass(frozen=True)
class Request:
    """What one connection has brought, and when (``monotonic()``)."""

    at: float
    head: str
    body: dict[str, Any]


class Hook:
    """Listens on a port of this machine. Each connection has a thread, which reads one request.

    *behaviour* is an answer, ``"hang"``, ``"drip"`` (five bytes of an answer a second),
    ``"endless"`` (an answer that is good and has no end), ``"close"`` (without an answer), or
    ``"deaf"`` (not even reading).
    """

    def __init__(self, behaviour: bytes | str = OK, tls: ssl.SSLContext | None = None) -> None:
        self.behaviour: bytes | str = behaviour
        #: The behaviour for the next requests, one each, before :attr:`behaviour`.
        self.next: deque[bytes | str] = deque()
        self.requests: list[Request] = []
        self.connections = 0
        self._tls = tls
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        scheme = "https" if tls else "http"
        host = "localhost" if tls else "127.0.0.1"
        self.url = f"{scheme}://{host}:{self.port}/{SECRET_PATH}?token=hook-query-Pass"

    def __enter__(self) -> Hook:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def entries(self) -> list[dict[str, Any]]:
        """What programs read of all messages, in the order of their coming."""
        return [
            entry
            for request in list(self.requests)
            for entry in request.body["metadata"]["event_payload"]["entries"]
        ]

    def texts(self) -> list[str]:
        """What people read."""
        return [request.body["text"] for request in list(self.requests)]

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError, ValueError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        behaviour = self.next.popleft() if self.next else self.behaviour
        if behaviour == "deaf":
            self._over.wait()
            return
        stream = connection.makefile("rb")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = stream.readline()
            if not line:
                return
            head += line
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        body = json.loads(stream.read(length))
        self.requests.append(Request(time.monotonic(), head.decode(), body))
        if isinstance(behaviour, bytes):
            connection.sendall(behaviour)
        elif behaviour == "hang":
            self._over.wait()
        elif behaviour == "endless":
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Endless: ")
            self._over.wait()
        elif behaviour == "drip":
            for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 600:
                connection.sendall(bytes([byte]))
                if self._over.wait(0.2):
                    return
