"""Heroku is called over HTTPS, whenever the standard library is patched."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from celery_middle_management.platforms.base import PlatformError
from celery_middle_management.platforms.heroku import HerokuPlatform
from celery_middle_management.settings.model import Heroku
from celery_middle_management.settings.reading import Secret
from tests.servers import ROOT

#: The key and the certificate, its own authority, of "localhost", for tests alone.
CERTIFICATE = Path(__file__).parent / "tls" / "localhost.pem"
ANSWER_AFTER = 1.0
#: Asks for the quantity; prints how long (s) a greenlet was held up at most, and the answer.
PROGRAM = """
import sys
from celery_middle_management.platforms.heroku import HerokuPlatform
from celery_middle_management.settings.reading import Heroku, Secret
from tests.integration.apps.patches import Stalls, patch
patch(sys.argv[1])

import threading, time
stalls, answers = Stalls(sys.argv[1]), []
def ask():
    platform = HerokuPlatform(Heroku("myapp", Secret("key"), api_url=sys.argv[2]))
    try: answers.append(platform.quantities(["worker"], time.monotonic() + 20.0))
    except Exception as error: answers.append(repr(error))
threading.Thread(target=ask).start()
while not answers: time.sleep(0.01)
print(stalls.longest(), answers[0], sep=";")
"""


class Formation(BaseHTTPRequestHandler):
    """Answers anything late with a formation."""

    def do_GET(self) -> None:
        time.sleep(ANSWER_AFTER)
        body = b'[{"type": "worker", "quantity": 3}]'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """It is of no interest."""


@pytest.fixture(name="port")
def _port() -> Iterator[int]:
    """Of an HTTPS server for "localhost"."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    with ThreadingHTTPServer(("127.0.0.1", 0), Formation) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        yield server.server_port
        server.shutdown()


def quantities(url: str, within: float = 20.0) -> object:
    platform = HerokuPlatform(Heroku("myapp", Secret("key"), api_url=url))
    return platform.quantities(["worker"], time.monotonic() + within)


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_no_greenlet_waits_for_heroku(library: str, port: int) -> None:
    pytest.importorskip(library)
    program = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, library, f"https://localhost:{port}"],
        env={**os.environ, "REQUESTS_CA_BUNDLE": str(CERTIFICATE)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    longest, _, answer = program.stdout.strip().partition(";")
    assert answer == "{'worker': 3}", program.stderr
    assert float(longest) < ANSWER_AFTER / 2


def test_only_a_server_that_proves_to_be_heroku_is_trusted(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PlatformError, match="SSLError"):
        quantities(f"https://localhost:{port}", within=2.0)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
    with pytest.raises(PlatformError, match="SSLError"):
        quantities(f"https://127.0.0.1:{port}", within=2.0)
    assert quantities(f"https://localhost:{port}") == {"worker": 3}
