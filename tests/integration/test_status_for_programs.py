"""``celery_middle_management.status(app)``, for pages and programs of the app itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis
from celery import Celery
from celery.exceptions import ImproperlyConfigured

import celery_middle_management
from celery_middle_management.demo.redis_server import free_port
from tests.integration.stage import stage

SHOW = """
import json, celery_middle_management
print(json.dumps(celery_middle_management.status(app)))
"""
COUNT_CONNECTIONS = """
import json, threading
import celery_middle_management, redis
client = redis.Redis.from_url(app.conf.broker_url)
def connections():
    return int(client.info("clients")["connected_clients"])
def look():
    for _ in range(20):
        celery_middle_management.status(app)
before = connections()
threads = [threading.Thread(target=look) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(connections() - before)
"""


def app_with(redis_url: str, **settings: Any) -> Celery:
    app = Celery("shown", broker=redis_url, set_as_current=False)
    app.conf.update(
        middle_management_enabled=True,
        middle_management_platform="local",
        middle_management_max_workers=5,
    )
    app.conf.update(settings)
    return app


def without_times(document: dict[str, Any]) -> dict[str, Any]:
    del document["at"]
    # The bill grows all the time.
    del document["money"]
    for pool in document["pools"]:
        # A minute or the call interval may end between the two.
        del pool["last_hour"], pool["next_call_at"]
    return document


def test_it_is_the_document_that_the_command_prints(redis_url: str) -> None:
    with stage(redis_url, command=None) as on:
        on.publish("work.delay()")
        on.wait_for_quantity(1)
        shown = json.loads(on.script(SHOW).stdout)
        told = json.loads(on.script("app.start(['mm', 'status', '--json'])").stdout)
    assert shown["pools"][0]["workers"]["current"] == 1
    assert without_times(shown) == without_times(told)


def test_threads_share_one_connection(lonely_redis_url: str) -> None:
    with stage(lonely_redis_url, command=None) as on:
        assert int(on.script(COUNT_CONNECTIONS).stdout) == 1


def test_an_app_that_is_not_enabled(redis_url: str) -> None:
    app = app_with(redis_url, middle_management_enabled=False)
    with pytest.raises(ImproperlyConfigured, match="not enabled for the app 'shown'"):
        celery_middle_management.status(app)


def test_an_app_that_is_switched_off(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDDLE_MANAGEMENT_ENABLED", "false")
    with pytest.raises(ImproperlyConfigured, match="MIDDLE_MANAGEMENT_ENABLED=false"):
        celery_middle_management.status(app_with(redis_url))


def test_wrong_settings_raise_each_time(redis_url: str) -> None:
    app = app_with(redis_url, middle_management_max_workers=-1)
    for _ in range(2):
        with pytest.raises(ImproperlyConfigured, match="max_workers"):
            celery_middle_management.status(app)


def test_redis_is_down() -> None:
    app = app_with(f"redis://127.0.0.1:{free_port()}")
    with pytest.raises(redis.RedisError):
        celery_middle_management.status(app)
