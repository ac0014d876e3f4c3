"""The API key and Redis' password stay in the settings, whatever is printed, logged or stored."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import redis
from celery import Celery

from celery_middle_management.platforms import PlatformError
from celery_middle_management.redis_server import RedisServer
from celery_middle_management.runtime import Runtime, runtime_of
from tests.integration.stage import API_KEY, APP, WORKER, stage
from tests.servers import ROOT, wait_for

PASSWORD = "a-password-of-redis"
OURS = ("celery_middle_management", "heroku3", "requests", "redis")
SECRETS = (API_KEY, PASSWORD)
DEBUG = (*WORKER[:-3], "--loglevel", "DEBUG")
LOGGED = "import logging; logging.basicConfig(level='DEBUG'); work.delay(1)"


def assert_clean(text: str) -> None:
    for secret in SECRETS:
        assert secret not in text


def stored(client: redis.Redis) -> str:
    """Everything that is in Redis."""
    return repr([client.dump(key) for key in client.scan_iter()]) + repr(client.keys())


def test_no_secret_in_logs_output_or_redis(tmp_path: Path) -> None:
    with RedisServer() as server:
        client = redis.Redis.from_url(server.url)
        client.config_set("requirepass", PASSWORD)
        client = redis.Redis.from_url(server.url, password=PASSWORD)
        url = server.url.replace("redis://", f"redis://:{PASSWORD}@")
        with stage(url, command=DEBUG, log_dir=tmp_path, settings={"call_interval": 1}) as on:
            said = []
            for fault in ({"status": 401}, {"status": 500}, {"kind": "garbage"}, None):
                on.emulator.clear_faults()
                if fault:
                    on.emulator.fault(**fault)
                ended = on.script(LOGGED)
                said += [ended.stdout, ended.stderr]
            wait_for(lambda: on.number("worker/finished") >= 1 or on.quantity == 0)
            with on.program("import time; work.delay(); time.sleep(60)"):
                on.wait_for_quantity(0)
            for arguments in (["status"], ["status", "--json"]):
                shown = subprocess.run(
                    [sys.executable, "-m", "celery", "-A", APP, "mm", *arguments],
                    env=on._environment({}),
                    cwd=ROOT,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                said += [shown.stdout, shown.stderr]
            said += [log.read_text(errors="replace") for log in tmp_path.glob("*.log")]
            assert any("HTTP" in text or "PATCH" in text for text in said), "DEBUG was not on"
            assert_clean("\n".join(said))
            assert_clean(stored(client))


def test_no_secret_in_a_repr_or_a_traceback(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    app = Celery("secretive", broker=redis_url.replace("redis://", f"redis://:{PASSWORD}@"))
    app.conf.update(
        middle_management_enabled=True,
        middle_management_max_workers=1,
        middle_management_heroku_app="myapp",
        middle_management_heroku_api_key=API_KEY,
        middle_management_heroku_api_url="http://127.0.0.1:9",
    )
    runtime = runtime_of(app)
    assert isinstance(runtime, Runtime)
    scaler = runtime._scaler()
    with pytest.raises(PlatformError) as failure:
        scaler.platform.quantities(["worker"], 0.0)  # type: ignore[attr-defined]
    told = traceback.TracebackException.from_exception(failure.value, capture_locals=True)
    assert_clean("".join(told.format()))
    ours = [thing for thing in gc.get_objects() if str(type(thing).__module__).startswith(OURS)]
    assert ours
    assert_clean("".join(map(repr, ours)))
    assert_clean(caplog.text)
