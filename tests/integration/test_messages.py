"""Each entry of the history reaches the webhook once or never, and nothing else waits for it."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any

import pytest
import redis

from celery_middle_management.demo.redis_server import free_port
from celery_middle_management.ledger import news
from celery_middle_management.reporting import messenger, webhook
from celery_middle_management.reporting.announcing import Announcer
from celery_middle_management.settings.secret import Secret
from tests.discreet import assert_discreet
from tests.integration.hook import OK, Hook, answer
from tests.integration.office import Office, office
from tests.integration.test_https import CERTIFICATE
from tests.servers import ROOT, wait_for

SECRETS = ("SECRET", "hook-Pass", "hook-query-Pass")
STATE, ACTIONS = "{middle-management:local}:state", "{middle-management:local}:actions"
#: A process that sends messages whenever a line comes in, until its standard input ends.
PROCESS = """
import sys
from tests.integration.office import Office
from celery_middle_management.reporting.announcing import Announcer
it = Office(sys.argv[1], webhook=sys.argv[2])
announcer = Announcer(it.app, it.settings, lambda: it.ledger)
print("ready", flush=True)
for line in sys.stdin:
    announcer.evaluated([])
"""


@pytest.fixture(name="hook")
def _hook() -> Iterator[Hook]:
    with Hook() as hook:
        yield hook


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Messages follow each other sooner, and no log says where to."""
    monkeypatch.setattr(messenger, "GAP", 0.05)
    monkeypatch.setattr(messenger, "FIRST_WAIT", 0.1)
    caplog.set_level(logging.DEBUG)
    yield
    logged = "\n".join(record.getMessage() for record in caplog.get_records("call"))
    assert not [secret for secret in SECRETS if secret in logged]


class Sender:
    """A process's announcer, beside a ledger for the test."""

    def __init__(self, it: Office) -> None:
        self.it = it
        self.announcer = Announcer(it.app, it.settings, lambda: it.ledger)
        self._number = 0

    def note(self, entries: int = 1) -> list[int]:
        """Write entries into the history, as a person's requests do."""
        numbers = [*range(self._number, self._number + entries)]
        self._number += entries
        for number in numbers:
            entry = {"pool": "worker", "at": "2026-11-29T10:00:00+00:00", "action": "resume"}
            own = {"id": uuid.uuid4().hex, "by": "ann", "number": number}
            assert self.it.ledger.intend({}, {}, {**entry, **own})
        return numbers

    def wake(self) -> None:
        self.announcer.evaluated([])


@contextmanager
def sender(redis_url: str, url: str) -> Iterator[Sender]:
    with office(redis_url, webhook=url) as it:
        made = Sender(it)
        yield made
        made.announcer.wait(30)


def numbers(hook: Hook) -> list[int]:
    return [entry["number"] for entry in hook.entries()]


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("mm-messages")]


# -- each once


def test_it_gets_every_entry_once_and_in_order(redis_url: str, hook: Hook) -> None:
    with sender(redis_url, hook.url) as its:
        sent = its.note(25)
        for _ in range(5):
            its.wake()
        wait_for(lambda: numbers(hook) == sent)
        sent += its.note(1)
        its.wake()
        wait_for(lambda: numbers(hook) == sent)
    assert [len(r.body["metadata"]["event_payload"]["entries"]) for r in hook.requests] == [
        *(10, 10, 5, 1)
    ]
    assert hook.texts()[-1] == "celery, pool worker: resumed by ann"
    assert "\r\nContent-Type: application/json\r\n" in hook.requests[0].head


@pytest.mark.parametrize("processes", [3])
def test_several_processes_send_each_entry_once(redis_url: str, hook: Hook, processes: int) -> None:
    with sender(redis_url, hook.url) as its, ExitStack() as stack:
        others = [stack.enter_context(process(redis_url, hook)) for _ in range(processes)]
        sent = its.note(1)
        tell(others)
        wait_for(lambda: len(numbers(hook)) == 1)
        for _ in range(6):
            sent += its.note(8)
            tell(others)
        wait_for(lambda: len(numbers(hook)) >= len(sent), 60.0)
    assert sorted(numbers(hook)) == sent
    assert len(hook.requests) > 4


@contextmanager
def process(redis_url: str, hook: Hook) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PROCESS, redis_url, hook.url]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as started:  # type: ignore[call-overload]
        try:
            assert started.stdout.readline() == "ready\n"
            yield started
        finally:
            started.kill()


def tell(processes: list[subprocess.Popen[str]]) -> None:
    """Have them send what there is."""
    for each in processes:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()


def test_a_process_killed_after_the_commit_loses_nothing(redis_url: str, hook: Hook) -> None:
    """It has written the entry, and has not claimed it."""
    with sender(redis_url, hook.url) as its, process(redis_url, hook) as other:
        sent = its.note(2)
        other.send_signal(signal.SIGKILL)
        other.wait()
        its.wake()
        wait_for(lambda: numbers(hook) == sent)


def test_a_process_killed_while_it_sends_doubles_nothing(redis_url: str, hook: Hook) -> None:
    """It has claimed the entry; the server has it, or not, and has not answered."""
    hook.behaviour = "hang"
    with sender(redis_url, hook.url) as its, process(redis_url, hook) as other:
        sent = its.note(1)
        tell([other])
        wait_for(lambda: numbers(hook) == sent)
        hook.behaviour = "deaf"
        lost = its.note(1)
        other.send_signal(signal.SIGKILL)
        other.wait()
        its.it.ledger.claim("another", 1)  # as a process that is killed before it connects
        hook.behaviour = OK
        sent += its.note(1)
        its.wake()
        wait_for(lambda: numbers(hook) == sent)
        assert lost[0] not in numbers(hook)


# -- what is news


def test_where_no_message_was_ever_sent_only_the_last_minute_is_news(
    redis_url: str, hook: Hook
) -> None:
    with sender(redis_url, hook.url) as its:
        write_at(its.it.redis, -news.FIRST - 5)
        fresh = write_at(its.it.redis, -news.FIRST + 20)
        its.wake()
        wait_for(lambda: numbers(hook) == [fresh])


def test_what_is_ten_minutes_old_is_no_news(redis_url: str, hook: Hook) -> None:
    with sender(redis_url, hook.url) as its:
        client = its.it.redis
        client.hset(STATE, "claimed", f"{now(client) - 86_400_000}-0")
        write_at(client, -news.OLDEST - 5)
        fresh = write_at(client, -news.OLDEST + 60)
        its.wake()
        wait_for(lambda: numbers(hook) == [fresh])


def test_the_cursor_is_set_by_the_first_look(redis_url: str, hook: Hook) -> None:
    """So an entry that is written later has its ten minutes, even if the webhook is away."""
    with sender(redis_url, hook.url) as its:
        assert its.it.ledger.claim("another", 5) == []
        client: Any = its.it.redis
        assert int(client.hget(STATE, "claimed").partition("-")[0]) <= now(client)
        assert 0 < client.ttl(STATE) <= 7 * 86400


def test_the_claimed_entry_may_have_left_the_history(redis_url: str, hook: Hook) -> None:
    with sender(redis_url, hook.url) as its:
        its.note(3)
        assert len(its.it.ledger.claim("another", 2)) == 2
        its.it.redis.xtrim(ACTIONS, maxlen=0)
        sent = its.note(1)
        its.wake()
        wait_for(lambda: numbers(hook) == sent)


def now(client: redis.Redis) -> int:
    at: Any = client.time()
    return int(at[0]) * 1000


def write_at(client: redis.Redis, seconds: float) -> int:
    """Write an entry that is so much older than now; return its number."""
    at = now(client) + int(seconds * 1000)
    entry = {"pool": "worker", "at": "2026-11-29T10:00:00+00:00", "action": "resume", "number": at}
    client.xadd(ACTIONS, {"entry": json.dumps(entry)}, id=f"{at}-0")
    client.expire(ACTIONS, 600)
    return at


# -- a server that misbehaves


@pytest.mark.parametrize(
    ("behaviour", "logged"),
    [
        ("hang", "did not answer in time"),
        ("deaf", "did not answer in time"),
        ("drip", "did not answer in time"),
        ("close", "closed the connection"),
        (b"220 mail.example.org ESMTP\r\n\r\n", "does not speak HTTP"),
        (answer(500), "answered 500"),
        (answer(404), "answered 404"),
        (answer(302, "Location: /elsewhere"), "answered 302"),
        (answer(429, "Retry-After: 4000"), "answered 429"),
    ],
)
def test_what_may_have_arrived_is_sent_once(  # noqa: PLR0917
    behaviour: bytes | str,
    logged: str,
    redis_url: str,
    hook: Hook,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if logged == "did not answer in time":
        monkeypatch.setattr(webhook, "TOTAL_TIMEOUT", 1.0)
    hook.behaviour = behaviour
    with sender(redis_url, hook.url) as its:
        its.note(1)
        for _ in range(30):
            its.wake()
            # The one before may still be ending.
            assert len(threads()) <= 2
        wait_for(lambda: "a message about workers was lost" in caplog.text)
        connections = hook.connections
        monkeypatch.setattr(webhook, "TOTAL_TIMEOUT", 20.0)
        hook.behaviour = OK
        [later] = its.note(1)
        its.wake()
        wait_for(lambda: numbers(hook)[-1:] == [later])
        assert numbers(hook).count(0) <= 1
        assert (connections, hook.connections) == (1, 2)
    wait_for(lambda: threads() == [])
    [said] = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert logged in said
    assert f"http://127.0.0.1:{hook.port}" in said


def test_the_end_of_an_endless_answer_is_not_waited_for(
    redis_url: str, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    hook.behaviour = "endless"
    with sender(redis_url, hook.url) as its:
        sent = its.note(1)
        its.wake()
        wait_for(lambda: numbers(hook) == sent and threads() == [])
    assert "lost" not in caplog.text


def test_a_server_that_refuses_gets_the_message_later(redis_url: str, hook: Hook) -> None:
    port = free_port()
    with sender(redis_url, hook.url.replace(str(hook.port), str(port))) as its:
        sent = its.note(1)
        its.wake()
        time.sleep(0.3)
        assert threads() == ["mm-messages"]
        with forwarded(port, hook.port):
            wait_for(lambda: numbers(hook) == sent)


@contextmanager
def forwarded(port: int, to: int) -> Iterator[None]:
    """Carry connections to another port."""

    def carry() -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", to))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=pump, args=(one, other), daemon=True).start()

    def pump(one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    with socket.create_server(("127.0.0.1", port)) as listener:
        threading.Thread(target=carry, daemon=True).start()
        yield
        listener.shutdown(socket.SHUT_RDWR)


def test_a_name_that_is_not_known_is_tried_again(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    look_up = socket.getaddrinfo
    tries: list[str] = []

    def unknown(host: Any, *rest: Any, **options: Any) -> Any:
        if host != "hook.invalid":
            return look_up(host, *rest, **options)
        tries.append(host)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr(messenger, "TRY_FOR", 2.0)
    with sender(redis_url, "http://hook.invalid/hook-Pass") as its:
        its.note(1)
        its.wake()
        wait_for(lambda: "http://hook.invalid cannot be reached or used (gaierror)" in caplog.text)
    assert len(tries) > 1


def test_too_many_requests_wait_as_long_as_they_are_told(redis_url: str, hook: Hook) -> None:
    hook.next += [answer(429, "Retry-After: 1"), answer(429, "retry-after:1")]
    with sender(redis_url, hook.url) as its:
        sent = its.note(1)
        its.wake()
        wait_for(lambda: len(hook.requests) == 3)
    assert numbers(hook) == sent * 3
    times = [request.at for request in hook.requests]
    assert all(later - earlier >= 1.0 for earlier, later in pairwise(times))


def test_messages_are_apart(redis_url: str, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messenger, "GAP", 0.4)
    with sender(redis_url, hook.url) as its:
        its.note(30)
        its.wake()
        wait_for(lambda: len(hook.requests) == 3)
    times = [request.at for request in hook.requests]
    assert all(later - earlier >= 0.35 for earlier, later in pairwise(times))


def test_if_redis_fails_the_message_waits(
    redis_url: str, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    with sender(redis_url, hook.url) as its:
        sent = its.note(1)
        real: Callable[[str, int], list[str]] = its.it.ledger.claim
        its.it.ledger.claim = refuse  # type: ignore[method-assign]
        its.wake()
        its.announcer.wait(10)
        assert "messages wait because Redis failed: away" in caplog.text
        its.it.ledger.claim = real  # type: ignore[method-assign]
        its.wake()
        wait_for(lambda: numbers(hook) == sent)


def refuse(*_: object) -> list[str]:
    raise redis.ConnectionError("away")


def test_while_it_hangs_evaluations_go_on(
    redis_url: str, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The evaluation that hires ends, though the message about the one before is not answered."""
    monkeypatch.setattr(messenger, "TRY_FOR", 0.5)
    hook.behaviour = "hang"
    with sender(redis_url, hook.url) as its:
        it = its.it
        it.scaler._evaluated = its.announcer.evaluated
        its.note(1)
        its.wake()
        wait_for(lambda: len(hook.requests) == 1)
        it.publish(2)
        wait_for(lambda: it.platform.quantity.get("worker") == 2 or it.scaler.evaluate(it.lease()))
        assert threads() == ["mm-messages"]
        hook.__exit__()
        its.announcer.wait(30)


def test_without_a_webhook_redis_is_not_asked(redis_url: str) -> None:
    with office(redis_url) as it:
        announcer = Announcer(it.app, it.settings, lambda: pytest.fail("asked"))
        announcer.evaluated([])
        assert threads() == []
        assert it.redis.hget(STATE, "claimed") is None


# -- TLS


@pytest.fixture(name="tls")
def _tls() -> Iterator[Hook]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    with Hook(tls=context) as hook:
        yield hook


def test_only_a_server_that_proves_to_be_the_one_gets_it(
    tls: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b'{"text": "x"}'
    assert "SSLCertVerificationError" in webhook.post(Secret(tls.url), body).trouble
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
    other = tls.url.replace("localhost", "127.0.0.1")
    assert "SSLCertVerificationError" in webhook.post(Secret(other), body).trouble
    assert tls.requests == []
    assert webhook.post(Secret(tls.url), body) == webhook.Outcome()
    assert len(tls.requests) == 1
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/missing")
    assert "FileNotFoundError" in webhook.post(Secret(tls.url), body).trouble


GREENLETS = """
import sys
from celery_middle_management.reporting import webhook
from celery_middle_management.settings.secret import Secret
from tests.integration.apps.patches import Stalls, patch
patch(sys.argv[1])
import threading, time
stalls, outcomes = Stalls(sys.argv[1]), []
def send():
    for url in sys.argv[2:]:
        outcomes.append(webhook.post(Secret(url), b'{"text": "x"}', 1.0).trouble)
threading.Thread(target=send).start()
while len(outcomes) < 2: time.sleep(0.01)
print(stalls.longest(), *outcomes, sep=";")
"""


@pytest.mark.slow
@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_no_greenlet_waits_for_it(library: str, tls: Hook) -> None:
    pytest.importorskip(library)
    with Hook("hang") as hanging:
        program = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", GREENLETS, library, tls.url, hanging.url],
            env={**os.environ, "REQUESTS_CA_BUNDLE": str(CERTIFICATE)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        longest, *troubles = program.stdout.strip().split(";")
        assert troubles == ["", f"http://127.0.0.1:{hanging.port} did not answer in time"]
        assert float(longest) < 0.8
        assert len(tls.requests) == 1


# -- its address


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:1/services/SECRET?hook-query-Pass",
        "http://[::1]:1/SECRET",
        "https://127.0.0.1:1/SECRET",
        "http://" + "x" * 70 + ".invalid/SECRET",  # no name of a host is so long
        "http://a..b/SECRET",
    ],
)
def test_no_error_shows_it(address: str) -> None:
    outcome = webhook.post(Secret(address), b"{}")
    assert outcome.trouble
    assert outcome.undelivered
    assert "SECRET" not in outcome.trouble
    assert "hook" not in outcome.trouble
    assert webhook.reach(Secret(address)) == outcome.trouble


def test_not_even_an_error_that_no_one_thought_of_shows_it(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(webhook, "_exchange", fail)
    outcome = webhook.post(Secret(hook.url), b"{}")
    assert outcome.trouble.endswith("(ZeroDivisionError)")
    assert not outcome.undelivered
    monkeypatch.setattr(webhook, "shown", fail)
    with pytest.raises(ZeroDivisionError) as failure:
        webhook.post(Secret(hook.url), b"{}")
    assert_discreet(failure.value, "hook-query-Pass")
