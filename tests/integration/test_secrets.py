"""No key and no password is in anything that is printed, logged, stored, sent or raised."""

from __future__ import annotations

import base64
import logging
import shutil
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from celery_middle_management.brokers import broker_of
from celery_middle_management.brokers.base import CountFailed
from celery_middle_management.core.batch import Batch
from celery_middle_management.demo.redis_server import RedisServer, free_port
from celery_middle_management.ledger.model import Changes, Lease
from celery_middle_management.ledger.redis import RedisLedger
from celery_middle_management.platforms import PlatformError, platform_for
from celery_middle_management.reporting.scaler import Scaler
from celery_middle_management.settings.model import Settings
from celery_middle_management.settings.reading import read_settings
from tests.discreet import assert_discreet
from tests.integration.hook import Hook, answer
from tests.integration.stage import API_KEY, APP, WORKER, stage
from tests.rabbitmq_server import RabbitServer
from tests.servers import wait_for

USERS = ("ledger", "broker", "backend")
#: Of Redis' users; nothing else is called so.
PASSWORDS = tuple(f"{user}s-Pass" for user in USERS)
WRONG, TLS = "a-wrong-Pass", "a-key-files-Pass"
SECRETS = (
    *(API_KEY, base64.b64encode(f":{API_KEY}".encode()).decode()),
    *(*PASSWORDS, WRONG, TLS),
    *("services/T0SECRET/B0SECRET/hook-Pass", "hook-query-Pass"),  # of the webhook's address
)
OURS = ("celery_middle_management", "heroku3", "requests", "redis")
DEBUG = (*WORKER[:-3], "--loglevel", "DEBUG")
LOGGED = "import logging; logging.basicConfig(level='DEBUG'); work.delay(1)"
REPORTS = f"""
    inspect = app.control.inspect(timeout=20, limit=1)
    print(inspect.conf(with_defaults=True), inspect.report())
    from celery.bin.celery import celery
    for command in ("mm status", "mm status --json", "mm doctor", "report"):
        celery.main(["-A", "{APP}", *command.split()], standalone_mode=False)
"""
#: Prints every object of the package, and of the libraries that it gives a secret to, after use.
REPRS = f"""
    import gc, time
    from celery_middle_management.app_setup import managed_app_of
    from celery_middle_management.ledger.manual_scaling import resume
    from celery_middle_management.platforms import platform_for
    managed = managed_app_of(app)
    managed.ledger().snapshot()
    resume(managed.settings, managed.ledger(), "me")
    managed._services._announce([])
    managed._services.wait_for_messages(30)
    scaler = managed._services.scaler()
    platform = platform_for(managed.settings).make(app)
    assert platform.quantities(["worker"], time.monotonic() + 60) == {{"worker": 0}}
    for thing in gc.get_objects():
        if str(type(thing).__module__).startswith({OURS}):
            print(type(thing).__name__, repr(thing))
"""


def assert_clean(text: str) -> None:
    found = [text.find(secret) for secret in SECRETS]
    shown = [text[max(0, at - 200) : at + 200] for at in found if at >= 0]
    assert not shown


def stored(client: redis.Redis) -> str:
    """Everything that is in Redis."""
    found = []
    for database in (1, 2, 3):
        client.select(database)
        found += [(key, client.dump(key)) for key in client.scan_iter()]
    return repr(found)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A Redis whose users have passwords."""
    with RedisServer() as server, redis.Redis.from_url(server.url) as client:
        for user, password in zip(USERS, PASSWORDS, strict=True):
            client.acl_setuser(
                user, enabled=True, passwords=[f"+{password}"], keys="*", channels="*",
                categories=["+@all"],
            )  # fmt: skip
        yield server


def address(server: RedisServer, user: str, password: str | None = None) -> str:
    """Where *user* has a database of its own."""
    number = USERS.index(user)
    password = password or PASSWORDS[number]
    return f"redis://{user}:{password}@127.0.0.1:{server.port}/{number + 1}"


def test_no_secret_in_logs_output_or_redis(server: RedisServer, tmp_path: Path) -> None:
    broker = address(server, "broker")
    dead = f"redis://:{WRONG}@127.0.0.1:{free_port()}/1"
    with (
        Hook(answer(404)) as hook,
        stage(
            f"{broker};{dead}",
            address(server, "ledger"),
            command=DEBUG,
            log_dir=tmp_path,
            settings={"call_interval": 1, "webhook": hook.url},
        ) as on,
    ):
        on.env["BACKEND_URL"] = address(server, "backend")
        said = []
        for fault in ({"status": 401}, {"kind": "garbage"}, None):
            on.emulator.clear_faults()
            if fault:
                on.emulator.fault(**fault)
            said += output(on.script(LOGGED))
        wait_for(lambda: on.number("worker/finished") >= 1 or on.quantity == 0)
        with on.worker("--loglevel", "DEBUG", "--pool", "solo") as worker:
            said += output(on.script(REPORTS))
            assert said[-2].count("middle_management_enabled") == 3
            assert '"outstanding"' in said[-2]
            with on.program("import time; work.delay(); time.sleep(60)"):
                on.wait_for_quantity(0)
            said.append(worker.log)
        said += [log.read_text(errors="replace") for log in tmp_path.glob("*.log")]
        assert any("HTTP" in text or "PATCH" in text for text in said), "DEBUG was not on"
        assert_clean("\n".join(said))
        with redis.Redis.from_url(server.url) as client:
            client.select(1)
            assert_clean(stored(client))
        assert hook.requests
        assert any(f"127.0.0.1:{hook.port} answered 404" in text for text in said)


def output(process: subprocess.CompletedProcess[str]) -> list[str]:
    return [process.stdout, process.stderr]


# What fails


class Parts:
    """The parts of an app's evaluation, without the signals of a whole ManagedApp."""

    def __init__(self, broker: Any, ledger: str | None, **conf: Any) -> None:
        app = Celery("secretive", broker=broker, set_as_current=False)
        app.conf.update(
            middle_management_enabled=True,
            middle_management_max_workers=1,
            middle_management_heroku_app="myapp",
            middle_management_heroku_api_key=API_KEY,
            middle_management_heroku_api_url=f"http://127.0.0.1:{free_port()}",
            middle_management_redis_url=ledger,
            **conf,
        )
        settings = read_settings(app)
        assert isinstance(settings, Settings)
        self.app = app
        self.ledger = RedisLedger(settings)
        self.broker = broker_of(app, settings, self.ledger.redis)
        self.platform = platform_for(settings).make(app)
        self.scaler = Scaler(app, settings, self.ledger, self.broker, self.platform)

    def read_ledger(self) -> None:
        lease = Lease("token", time.monotonic())
        calls: list[Callable[[], object]] = [
            self.ledger.snapshot,
            lambda: self.ledger.report(Batch()),
            lambda: self.ledger.commit(lease, Changes()),
        ]
        for call in calls:
            with pytest.raises(redis.RedisError) as failure:
                call()
            assert_discreet(failure.value, *SECRETS)
        self.scaler.evaluate(lease)

    def read_broker(self) -> str:
        with pytest.raises(CountFailed) as failure:
            self.broker.backlogs(["celery"], {})
        assert_discreet(failure.value, *SECRETS)
        return str(failure.value)

    def scale(self) -> None:
        with pytest.raises(PlatformError) as failure:
            self.platform.scale({"worker": 1}, time.monotonic())
        assert_discreet(failure.value, *SECRETS)


@pytest.fixture(autouse=True)
def nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No secret, neither as text nor in a frame of an error."""
    caplog.set_level(logging.DEBUG)
    yield
    records = caplog.get_records("call")
    assert_clean("\n".join(record.getMessage() for record in records))
    for record in records:
        if record.exc_info and record.exc_info[1] and record.name.startswith(OURS):
            assert_discreet(record.exc_info[1], *SECRETS)


@contextmanager
def impostor() -> Iterator[int]:
    """The port of a server that does not know how to log in, and quotes what it does not know."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            words = []
            while line := self.rfile.readline().decode().strip():
                if not line.startswith(("*", "$")):
                    words.append(line)
                if words[:1] == ["AUTH"] and len(words) == 3:
                    quoted = "".join(f"`{word}`, " for word in words[1:])
                    said = f"-ERR unknown command `AUTH`, with args beginning with: {quoted}\r\n"
                    self.wfile.write(said.encode())
                    words.clear()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        try:
            yield listening.server_address[1]
        finally:
            listening.shutdown()


def test_no_secret_where_the_ledger_is_away() -> None:
    Parts("memory://", f"redis://ledger:{PASSWORDS[0]}@127.0.0.1:{free_port()}/2").read_ledger()


@pytest.mark.parametrize("password", [WRONG, f"{WRONG}\udcff"], ids=["wrong", "no text"])
def test_no_secret_where_the_ledger_refuses_it(server: RedisServer, password: str) -> None:
    Parts("memory://", address(server, "ledger", password)).read_ledger()


def test_no_secret_where_the_ledger_cannot_log_in() -> None:
    with impostor() as port:
        parts = Parts("memory://", f"redis://ledger:{PASSWORDS[0]}@127.0.0.1:{port}/2")
        with pytest.raises(redis.RedisError, match=r"AUTH.*\*\*\*"):
            parts.ledger.snapshot()
        parts.read_ledger()


@pytest.mark.parametrize("password", [TLS, WRONG])
def test_no_secret_of_a_key_file_which_is_used_all_the_same(
    server: RedisServer, tmp_path: Path, password: str
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-subj", "/CN=x", "-passout"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make, f"pass:{TLS}", *files], check=True, capture_output=True)
    query = f"ssl_keyfile={key}&ssl_certfile={certificate}&ssl_password={password}"
    # It ends the connection that does not begin as TLS; with the wrong password none is begun.
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as deaf:
        threading.Thread(target=deaf.serve_forever, daemon=True).start()
        url = f"rediss://ledger:{PASSWORDS[0]}@127.0.0.1:{deaf.server_address[1]}/2?{query}"
        parts = Parts("memory://", url)
        with pytest.raises((redis.RedisError, OSError)) as failure:
            parts.ledger.snapshot()
        deaf.shutdown()
    assert_discreet(failure.value, *SECRETS)
    reached = "PEM" not in str(failure.value) and "decrypt" not in str(failure.value).lower()
    assert reached == (password == TLS), failure.value


@pytest.mark.parametrize(
    "kind", ["away", "several", "list", "read and write", "refused", "slash", "port", "unknown"]
)
def test_no_secret_where_the_broker_fails(server: RedisServer, kind: str) -> None:
    away = [f"redis://:{password}@127.0.0.1:{free_port()}/1" for password in (WRONG, TLS)]
    conf: dict[str, Any] = {"broker_transport_options": {"max_retries": 1, "interval_start": 0}}
    broker: Any = {
        "away": away[0],
        "several": ";".join(away),
        "list": away,
        "refused": address(server, "broker", WRONG),
        "slash": f"redis://:a/{WRONG}@127.0.0.1/1",
        "port": f"redis://127.0.0.1:{WRONG}/1",
        "unknown": f"nothing://:{WRONG}@127.0.0.1/1",
    }.get(kind)
    if kind == "read and write":
        conf |= {"broker_read_url": away[0], "broker_write_url": away}
    said = Parts(broker, address(server, "ledger"), **conf).read_broker()
    assert said.startswith("the broker ")
    if kind in {"several", "list"}:
        assert "***" not in said
        assert said.count("redis://127.0.0.1:") == 2


@pytest.mark.rabbitmq
def test_no_secret_where_rabbitmq_refuses_it(server: RedisServer, rabbitmq: RabbitServer) -> None:
    host = rabbitmq.url.partition("@")[2]
    parts = Parts(f"amqp://guest:{WRONG}@{host}", address(server, "ledger"))
    assert "ACCESS_REFUSED" in parts.read_broker()


def test_no_secret_where_heroku_is_away(server: RedisServer) -> None:
    Parts("memory://", address(server, "ledger")).scale()


def test_no_secret_where_the_workers_directory_is_not_ours(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(PlatformError) as failure:
        Parts("memory://", address(server, "ledger"), middle_management_platform="local")
    assert_discreet(failure.value, *SECRETS)


def test_no_secret_where_a_local_worker_cannot_be_started(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    monkeypatch.setenv("REDIS_URL", address(server, "ledger"))
    parts = Parts("memory://", None, middle_management_platform="local")
    monkeypatch.setattr(sys.modules[__name__], "app", parts.app, raising=False)
    with pytest.raises(PlatformError, match="could not be started") as failure:
        parts.platform.scale({"worker": 1}, time.monotonic() + 60)
    assert_discreet(failure.value, *SECRETS)


def test_no_secret_in_a_repr(server: RedisServer) -> None:
    # In a process of its own: in this one, other tests may have left requests with the same key.
    with (
        Hook() as hook,
        stage(
            address(server, "broker"), address(server, "ledger"), settings={"webhook": hook.url}
        ) as on,
    ):
        told = on.script(REPRS).stdout
        assert hook.connections
    assert {"ManagedApp", "HerokuPlatform", "RedisLedger", "_Client"} <= set(told.split())
    assert {"Announcer", "Messenger", "Secret"} <= set(told.split())
    assert_clean(told)
