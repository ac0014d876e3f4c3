"""Settings: where each comes from, and what is said of a wrong one."""

from __future__ import annotations

import copy
import json
import os
import pickle
import ssl
import subprocess
import sys
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import redis
from celery import Celery
from celery.app.utils import filter_hidden_settings
from celery.exceptions import ImproperlyConfigured

from celery_middle_management.core.pools import Pool
from celery_middle_management.ledger.connection import connect
from celery_middle_management.settings.model import Heroku, Settings
from celery_middle_management.settings.reading import (
    NotNeededHere,
    hide_from_celery,
    read_settings,
)
from celery_middle_management.settings.secret import Secret
from tests.discreet import assert_discreet

KEY = "HRKU-01234567-89ab-cdef-0123-456789abcdef"
APP_ID = "01234567-89ab-cdef-0123-456789abcdef"
HUNTER = "hunter2"  # part of every other secret here
LOCAL = {"enabled": True, "platform": "local", "max_workers": 5, "redis_url": "redis://r/1"}
ON_HEROKU = {**LOCAL, "platform": "heroku", "heroku_app": "an-app", "heroku_api_key": KEY}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """That of a dyno, which says nothing else of Celery, Redis or Heroku."""
    for name in list(os.environ):
        if name.startswith(("MIDDLE_MANAGEMENT_", "HEROKU_", "CELERY_")) or name == "REDIS_URL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("DYNO", "web.1")
    return monkeypatch


def app_with(celery: dict[str, Any] | None = None, /, **ours: Any) -> Celery:
    """An app with these settings: Celery's own, and ours without their prefix."""
    app = Celery("app", set_as_current=False)
    app.conf.update(celery or {})
    app.conf.update({f"middle_management_{name}": value for name, value in ours.items()})
    return app


def read(celery: dict[str, Any] | None = None, /, **ours: Any) -> Settings | None:
    """What is read of it."""
    return read_settings(app_with(celery, **ours))


def settings(celery: dict[str, Any] | None = None, /, **ours: Any) -> Settings:
    """As `read`, with the settings that are needed."""
    found = read(celery, **{**LOCAL, **ours})
    assert found
    return found


def heroku(**ours: Any) -> Heroku:
    """What is read of Heroku."""
    found = settings(**{"platform": "heroku", **ours})
    assert found.heroku
    return found.heroku


def refusal(celery: dict[str, Any] | None = None, /, **ours: Any) -> str:
    """What is said of wrong settings."""
    app = app_with(celery, **ours)
    with pytest.raises(ImproperlyConfigured) as caught:
        read_settings(app)
    message = str(caught.value)
    assert "\n" not in message
    assert_discreet(caught.value, KEY, HUNTER)
    assert_masked(app, KEY, HUNTER)
    return message


def assert_masked(app: Celery, *secrets: str) -> None:
    """Where Celery shows the app's settings, none of ours shows a secret."""
    table = app.conf.table(with_defaults=True, censored=False)
    ours = {name: table[name] for name in table if "middle_management" in name.lower()}
    shown = repr(filter_hidden_settings(ours))
    assert not any(secret in shown for secret in secrets)


class TestEnabled:
    def test_absent_means_no(self) -> None:
        assert read() is None

    def test_no_means_that_nothing_else_is_checked(self) -> None:
        assert read(enabled=False, max_workers="lots", nonsense=1) is None

    def test_mistyped(self, environment: pytest.MonkeyPatch) -> None:
        assert read(enabled=None, max_workers="lots") is None
        assert refusal(enabled=None, enable=True, max_workers=3) == (
            "middle_management_enable is unknown; did you mean middle_management_enabled?"
        )
        environment.setenv("MIDDLE_MANAGEMENT_ENABLE", "1")
        assert refusal(enabled=None) == (
            "MIDDLE_MANAGEMENT_ENABLE is unknown; did you mean MIDDLE_MANAGEMENT_ENABLED?"
        )

    @pytest.mark.parametrize("text", ["true", "TRUE", "1", "yes", "On"])
    def test_by_the_environment(self, environment: pytest.MonkeyPatch, text: str) -> None:
        environment.setenv("MIDDLE_MANAGEMENT_ENABLED", text)
        assert read(platform="local", max_workers=1, redis_url="redis://r") is not None

    @pytest.mark.parametrize("text", ["false", "False", "0", "no", "OFF", ""])
    def test_not_by_the_environment(self, environment: pytest.MonkeyPatch, text: str) -> None:
        environment.setenv("MIDDLE_MANAGEMENT_ENABLED", text)
        assert read() is None

    def test_the_environment_switches_it_off(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("MIDDLE_MANAGEMENT_ENABLED", "off")
        assert read(enabled=True) is None
        assert read(enabled="wrong", nonsense=1) is None

    def test_the_environment_must_say_what_it_means(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("MIDDLE_MANAGEMENT_ENABLED", "of")
        for enabled in (True, None):
            said = refusal(enabled=enabled)
            assert said == "MIDDLE_MANAGEMENT_ENABLED is 'of'; allowed: True or False"

    def test_the_setting_wins_over_the_environment(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("MIDDLE_MANAGEMENT_ENABLED", "true")
        assert read(enabled=False) is None


def test_defaults() -> None:
    assert read(**ON_HEROKU) == Settings(
        platform="heroku",
        pools=(Pool("worker", None, min_workers=0, max_workers=5, jobs_per_worker=10),),
        redis_url=Secret("redis://r/1"),
        redis_options={},
        call_interval=10.0,
        count_interval=60.0,
        drain_timeout=None,
        heroku=Heroku("an-app", Secret(KEY), "https://api.heroku.com"),
    )


def test_a_maximum_of_0_is_0_whatever_the_minimum() -> None:
    [pool] = settings(min_workers=2, max_workers=0).pools
    assert (pool.min_workers, pool.max_workers) == (0, 0)


def test_local_needs_no_heroku() -> None:
    assert settings().heroku is None


GOOD: list[tuple[str, object, object]] = [
    ("call_interval", 0.5, 0.5),
    ("call_interval", 3, 3.0),
    ("count_interval", 10**6, 1e6),
    ("drain_timeout", 90, 90.0),
    ("drain_timeout", None, None),
    ("platform", None, "heroku"),
    ("platform", "local", "local"),
    ("celery_app", "make_celery", "make_celery"),
    ("celery_app", "proj.celery:app", "proj.celery:app"),
    ("dry_run", True, True),
    ("pools", None, (Pool("worker", None, 0, 5, 10),)),
    ("pools", {"worker": {}}, (Pool("worker", None, 0, 5, 10),)),
    ("pools", {"a-b_2": {"queues": ("q",)}}, (Pool("a-b_2", ("q",), 0, 5, 10),)),
    (
        "pools",
        {
            "pdf": {"queues": ["pdf", "png"], "min_workers": 1, "max_workers": 500},
            "rest": {"jobs_per_worker": 1, "queues": None, "max_workers": None},
        },
        (Pool("pdf", ("pdf", "png"), 1, 500, 10), Pool("rest", None, 0, 5, 1)),
    ),
]


@pytest.mark.parametrize(("name", "given", "read_as"), GOOD)
def test_good_values(name: str, given: object, read_as: object) -> None:
    assert getattr(read(**{**ON_HEROKU, name: given}), name) == read_as


def test_limits_may_be_equal() -> None:
    (pool,) = settings(min_workers=3, max_workers=3, jobs_per_worker=1).pools
    assert pool == Pool("worker", None, 3, 3, 1)


def test_every_pool_with_its_own_maximum_needs_no_common_one() -> None:
    (pool,) = settings(max_workers=None, pools={"pdf": {"max_workers": 2}}).pools
    assert pool.max_workers == 2


@pytest.mark.parametrize(
    "app_name", ["an-app", "a1b", "a" * 30, "01234567-89ab-cdef-0123-456789abcdef"]
)
def test_good_apps(app_name: str) -> None:
    assert heroku(heroku_app=app_name, heroku_api_key=KEY).app == app_name


@pytest.mark.parametrize(
    ("given", "read_as"),
    [
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("https://proxy.example/heroku/", "https://proxy.example/heroku"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_good_api_addresses(given: str, read_as: str) -> None:
    assert heroku(**ON_HEROKU, heroku_api_url=given).api_url == read_as


class TestPoolFor:
    def test_the_pool_that_names_the_queue_wins(self) -> None:
        found = settings(pools={"rest": {}, "pdf": {"queues": ["pdf"]}})
        queues = {queue: found.pool_for(queue) for queue in ("pdf", "celery")}
        assert {queue: pool and pool.name for queue, pool in queues.items()} == {
            "pdf": "pdf",
            "celery": "rest",
        }

    def test_a_queue_may_have_no_pool(self) -> None:
        assert settings(pools={"pdf": {"queues": ["pdf"]}}).pool_for("celery") is None


WHOLE = "a whole number, 0 or more"
POSITIVE = "a positive whole number"
SECONDS = "a number of seconds above 0"
POOLS = "a dict of a dict for each pool"
QUEUES = "a list of the names of queues"
APP = "the name or the id of a Heroku app"
API_URL = "an http:// or https:// address without user, password, query or fragment"
REDIS = "redis://user:password@host:port/database"
PROCESS_TYPE = "a Heroku process type"

# setting, value, what the message says of the value, what it says is allowed
BAD: list[tuple[str, object, str, str]] = [
    ("enabled", "true", "is 'true', a string; ", "True or False"),
    ("enabled", 1, "is 1", "True or False"),
    ("celery_app", "proj/celery.py", "is 'proj/celery.py'", "what `celery -A` takes"),
    ("dry_run", "yes please", "is 'yes please'", "True or False"),
    ("platform", "kubernetes", "is 'kubernetes'", "'heroku' or 'local'"),
    ("platform", "Heroku", "is 'Heroku'", "'heroku' or 'local'"),
    ("platform", 7, "is 7", "'heroku' or 'local'"),
    ("min_workers", -1, "is -1", WHOLE),
    ("min_workers", 1.0, "is 1.0", WHOLE),
    ("min_workers", True, "is True", WHOLE),
    ("min_workers", "2", "is '2'", WHOLE),
    ("min_workers", 6, "is 6", "at most middle_management_max_workers, 5"),
    ("max_workers", -1, "is -1", WHOLE),
    ("max_workers", True, "is True", WHOLE),
    ("max_workers", "10", "is '10', a string; ", WHOLE),
    ("max_workers", 2.5, "is 2.5", WHOLE),
    ("max_workers", None, "is required for the pool 'worker'", WHOLE),
    ("jobs_per_worker", 0, "is 0", POSITIVE),
    ("jobs_per_worker", "auto", "is 'auto'", POSITIVE),
    ("jobs_per_worker", False, "is False", POSITIVE),
    ("call_interval", 0, "is 0", SECONDS),
    ("call_interval", -1.5, "is -1.5", SECONDS),
    ("call_interval", float("nan"), "is nan", SECONDS),
    ("call_interval", float("inf"), "is inf", SECONDS),
    ("call_interval", 10**400, "is 1000", SECONDS),
    ("call_interval", "10", "is '10'", SECONDS),
    ("call_interval", True, "is True", SECONDS),
    ("count_interval", 0, "is 0", SECONDS),
    ("count_interval", [1], "is [1]", SECONDS),
    ("drain_timeout", 0, "is 0", f"{SECONDS}, or None"),
    ("drain_timeout", False, "is False", f"{SECONDS}, or None"),
    ("heroku_app", None, "is required on Heroku", APP),
    ("heroku_app", "", "is ''", APP),
    ("heroku_app", "a/b", "is 'a/b'", APP),
    ("heroku_app", "an app", "is 'an app'", APP),
    ("heroku_app", "an-app\n", r"is 'an-app\n'", APP),
    ("heroku_app", "An-App", "is 'An-App'", APP),
    ("heroku_app", KEY, "is ***", APP),
    ("heroku_api_key", None, "is required on Heroku", "a Heroku API key"),
    ("heroku_api_key", "", "is ''", "without spaces or line breaks"),
    ("heroku_api_key", f"{KEY}\n", "is ***", "without spaces or line breaks"),
    ("heroku_api_key", f" {HUNTER}", "is ***", "without spaces or line breaks"),
    ("heroku_api_key", [HUNTER], "is ***", "a Heroku API key"),
    ("heroku_password", f"{HUNTER} ", "is ***", "a Heroku API key"),
    ("heroku_api_url", "api.heroku.com", "is 'api.heroku.com'", API_URL),
    ("heroku_api_url", "ftp://heroku.com", "is 'ftp://heroku.com'", API_URL),
    ("heroku_api_url", "https://", "is 'https://'", API_URL),
    ("heroku_api_url", "https:///path", "is 'https:///path'", API_URL),
    ("heroku_api_url", "http://[::1", "is 'http://[::1'", API_URL),
    ("heroku_api_url", "http://host:port", "is 'http://host:port'", API_URL),
    ("heroku_api_url", "http://host/ x", "is 'http://host/ x'", API_URL),
    ("heroku_api_url", "http://host?a=b", "is 'http://host?a=b'", API_URL),
    ("heroku_api_url", f"http://u:{HUNTER}@host", "is ***", API_URL),
    ("heroku_api_url", f"http://u:hun/ter{HUNTER}@host", "is ***", API_URL),
    ("redis_url", None, "is required: neither the broker", REDIS),
    ("redis_url", "", "is ''", REDIS),
    ("redis_url", HUNTER, "is ***", REDIS),
    ("redis_url", 6379, "is ***", REDIS),
    ("redis_url", f"sentinel://:{HUNTER}@host", "is sentinel://***", REDIS),
    ("redis_url", f"amqp://guest:{HUNTER}@host", "is amqp://***", "rediss://"),
    ("redis_url", f"redis://:{HUNTER}#1@host", "is redis://***", REDIS),
    ("redis_url", f"redis://host/{HUNTER}", "is redis://***", REDIS),
    ("redis_url", f"redis://host?db={HUNTER}", "is redis://***", REDIS),
    ("heroku_api_url", f"redis://host/0?password={HUNTER}", "is ***", API_URL),
    ("jobs_per_worker", "01234567-89AB-cdef-0123-456789abcdef", "is ***", POSITIVE),
    ("redis_url", "redis://host/1 ", "is redis://***", REDIS),
    ("redis_url", "unix://", "is unix://***", "unix:///path or redis+socket:///path"),
    ("pools", {}, "is {}", POOLS),
    ("pools", [], "is []", POOLS),
    ("pools", ["worker"], "is ['worker']", POOLS),
    ("pools", '{"worker": {}}', """is '{"worker": {}}'""", POOLS),
    ("pools", {"worker": None}, "is {'worker': None}", POOLS),
    ("pools", {1: {}}, "is {1: {}}", POOLS),
    ("pools", {"worker": {2: 3}}, "is {'worker': {2: 3}}", POOLS),
    ("pools", {"worker": {}, "x" * 300: 1}, "xxx...; allowed", POOLS),
]
BAD_POOLS: list[tuple[dict[str, Any], str, str]] = [
    ({"web": {}}, "the name of a pool in {} is 'web'", PROCESS_TYPE),
    ({"release": {}}, "the name of a pool in {} is 'release'", PROCESS_TYPE),
    ({"a b": {}}, "the name of a pool in {} is 'a b'", PROCESS_TYPE),
    ({"": {}}, "the name of a pool in {} is ''", PROCESS_TYPE),
    ({"é": {}}, "the name of a pool in {} is 'é'", PROCESS_TYPE),
    ({"a\n": {}}, r"the name of a pool in {} is 'a\n'", PROCESS_TYPE),
    ({"x" * 129: {}}, "the name of a pool in {} is 'xxx", PROCESS_TYPE),
    (
        {"a": {"max_worker": 3}},
        "{}['a'].max_worker is unknown",
        "did you mean {}['a'].max_workers?",
    ),
    ({"PDF": {"queue": ["a"]}}, "{}['PDF'].queue is unknown", "did you mean {}['PDF'].queues?"),
    ({"a": {"drain_timeout": 3}}, "{}['a'].drain_timeout is unknown", "allowed: queues, min_work"),
    ({"a": {"queues": "pdf"}}, "{}['a'].queues is 'pdf'", QUEUES),
    ({"a": {"queues": []}}, "{}['a'].queues is []", QUEUES),
    ({"a": {"queues": ["", "b"]}}, "{}['a'].queues is ['', 'b']", QUEUES),
    ({"a": {"queues": [3]}}, "{}['a'].queues is [3]", QUEUES),
    ({"a": {"queues": {"b"}}}, "{}['a'].queues is {'b'}", QUEUES),
    ({"a": {"max_workers": -1}}, "{}['a'].max_workers is -1", WHOLE),
    ({"a": {"min_workers": "1"}}, "{}['a'].min_workers is '1'", WHOLE),
    ({"a": {"jobs_per_worker": "auto"}}, "{}['a'].jobs_per_worker is 'auto'", POSITIVE),
    (
        {"a": {"min_workers": 4, "max_workers": 3}},
        "{}['a'].min_workers is 4 for the pool 'a'",
        "at most {}['a'].max_workers, 3",
    ),
    (
        {"a": {"min_workers": 9}},
        "{}['a'].min_workers is 9 for the pool 'a'",
        "at most middle_management_max_workers, 5",
    ),
    (
        {"a": {"queues": ["q"]}, "b": {"queues": ["r", "q"]}},
        "{} gives the queue 'q' to 'a' and to 'b'",
        "each queue in one pool",
    ),
    (
        {"a": {"queues": ["q", "q"]}},
        "{} gives the queue 'q' to 'a' and to 'a'",
        "each queue in one pool",
    ),
    (
        {"a": {}, "b": {"queues": ["q"]}, "c": {}},
        "{} gives every other queue to 'a' and to 'c'",
        "at most one pool without queues",
    ),
]


@pytest.mark.parametrize(("name", "value", "said", "allowed"), BAD)
def test_bad_values(name: str, value: object, said: str, allowed: str) -> None:
    message = refusal(**{**ON_HEROKU, name: value})
    assert message.startswith(f"middle_management_{name} ")
    assert said in message
    assert allowed in message.partition("; allowed: ")[2]


@pytest.mark.parametrize(("pools", "said", "allowed"), BAD_POOLS)
def test_bad_pools(pools: dict[str, Any], said: str, allowed: str) -> None:
    message = refusal(**LOCAL, pools=pools)
    label = "middle_management_pools"
    assert said.replace("{}", label, 1) in message
    assert allowed.replace("{}", label, 1) in message


def test_a_common_minimum_above_the_maximum_of_a_pool() -> None:
    assert refusal(**LOCAL, min_workers=5, pools={"a": {"max_workers": 3}}) == (
        "middle_management_min_workers is 5 for the pool 'a'; "
        "allowed: at most middle_management_pools['a'].max_workers, 3"
    )


class TestUnknownNames:
    def test_of_a_setting(self) -> None:
        assert refusal(**LOCAL, max_worker=3) == (
            "middle_management_max_worker is unknown; did you mean middle_management_max_workers?"
        )

    def test_unlike_any(self) -> None:
        message = refusal(**LOCAL, zzz=3)
        assert message.startswith("middle_management_zzz is unknown; allowed: enabled, platform, ")

    def test_of_a_variable(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("MIDDLE_MANAGEMENT_HEROKU_API_KEYS", HUNTER)
        assert refusal(**LOCAL) == (
            "MIDDLE_MANAGEMENT_HEROKU_API_KEYS is unknown; "
            "did you mean MIDDLE_MANAGEMENT_HEROKU_API_KEY?"
        )

    def test_of_other_programs(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("MIDDLE_MANAGEMENTS", "1")
        environment.setenv("UPPER_MIDDLE_MANAGEMENT_MAX", "1")
        assert settings({"worker_concurrency": 3, "upper_middle_management_max": 1})


class TestEnvironment:
    def test_everything(self, environment: pytest.MonkeyPatch) -> None:
        pools = {"pdf": {"queues": ["pdf"], "max_workers": 3}, "worker": {}}
        for name, text in {
            "ENABLED": "yes",
            "PLATFORM": "heroku",
            "HEROKU_APP": "an-app",
            "HEROKU_API_KEY": KEY,
            "HEROKU_API_URL": "http://localhost:1/",
            "REDIS_URL": "redis://r/2",
            "MIN_WORKERS": "1",
            "MAX_WORKERS": "7",
            "JOBS_PER_WORKER": "2",
            "POOLS": json.dumps(pools),
            "CALL_INTERVAL": "2.5",
            "COUNT_INTERVAL": "30",
            "DRAIN_TIMEOUT": "1e3",
        }.items():
            environment.setenv(f"MIDDLE_MANAGEMENT_{name}", text)
        assert read() == Settings(
            platform="heroku",
            pools=(Pool("pdf", ("pdf",), 1, 3, 2), Pool("worker", None, 1, 7, 2)),
            redis_url=Secret("redis://r/2"),
            redis_options={},
            call_interval=2.5,
            count_interval=30.0,
            drain_timeout=1000.0,
            heroku=Heroku("an-app", Secret(KEY), "http://localhost:1"),
        )

    def test_settings_win(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("MIDDLE_MANAGEMENT_MAX_WORKERS", "7")
        assert settings(max_workers=2).pools[0].max_workers == 2

    def test_none_leaves_it_to_the_environment(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("MIDDLE_MANAGEMENT_MAX_WORKERS", "7")
        assert settings(max_workers=None).pools[0].max_workers == 7

    def test_an_empty_variable_is_absent(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("MIDDLE_MANAGEMENT_DRAIN_TIMEOUT", "")
        assert settings().drain_timeout is None

    @pytest.mark.parametrize(
        ("name", "text", "allowed"),
        [
            ("ENABLED", "maybe", "True or False"),
            ("MAX_WORKERS", "ten", WHOLE),
            ("MAX_WORKERS", "1.5", WHOLE),
            ("MIN_WORKERS", "-1", WHOLE),
            ("CALL_INTERVAL", "nan", SECONDS),
            ("CALL_INTERVAL", "10 s", SECONDS),
            ("POOLS", "{'worker': {}}", POOLS),
            ("POOLS", "3", POOLS),
            ("PLATFORM", "aws", "'heroku' or 'local'"),
        ],
    )
    def test_bad_texts(
        self, environment: pytest.MonkeyPatch, name: str, text: str, allowed: str
    ) -> None:
        environment.setenv(f"MIDDLE_MANAGEMENT_{name}", text)
        given = {key: value for key, value in ON_HEROKU.items() if key != name.lower()}
        message = refusal(**given)
        assert message.startswith(f"MIDDLE_MANAGEMENT_{name} is ")
        assert text in message
        assert f"; allowed: {allowed}" in message


class TestHeroku:
    def test_the_usual_variables(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("HEROKU_APP_NAME", "an-app")
        environment.setenv("HEROKU_API_KEY", KEY)
        found = heroku()
        assert found == Heroku("an-app", Secret(KEY), "https://api.heroku.com")
        assert (found.app_from, found.key_from) == ("HEROKU_APP_NAME", "HEROKU_API_KEY")

    def test_our_variables_win(self, environment: pytest.MonkeyPatch) -> None:
        for prefix, name, key in (("", "an-app", "k1"), ("MIDDLE_MANAGEMENT_", "other", "k2")):
            environment.setenv(f"{prefix}HEROKU_API_KEY", key)
            variable = "HEROKU_APP" if prefix else "HEROKU_APP_NAME"
            environment.setenv(f"{prefix}{variable}", name)
        environment.setenv("MIDDLE_MANAGEMENT_HEROKU_PASSWORD", "k3")
        assert heroku() == Heroku("other", Secret("k2"), "https://api.heroku.com")

    def test_the_gems_variables(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("MIDDLE_MANAGEMENT_HEROKU_APP", "an-app")
        environment.setenv("MIDDLE_MANAGEMENT_HEROKU_USERNAME", "me@example.com")
        environment.setenv("MIDDLE_MANAGEMENT_HEROKU_PASSWORD", KEY)
        assert heroku().api_key == Secret(KEY)

    def test_the_gems_names_as_settings(self) -> None:
        found = heroku(heroku_app="app", heroku_username="me", heroku_password=KEY)
        assert found.api_key == Secret(KEY)
        assert found.key_from == "middle_management_heroku_password"

    def test_bad_variables(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("HEROKU_APP_NAME", "an app")
        environment.setenv("HEROKU_API_KEY", f"{HUNTER}\n")
        assert refusal(**{**LOCAL, "platform": "heroku"}).startswith("HEROKU_APP_NAME is 'an app';")
        environment.setenv("HEROKU_APP_NAME", "an-app")
        assert refusal(**{**LOCAL, "platform": "heroku"}).startswith("HEROKU_API_KEY is ***;")

    def test_missing_ones_name_the_variables(self) -> None:
        given = {**LOCAL, "platform": "heroku"}
        assert "or the environment variable HEROKU_APP_NAME" in refusal(**given)
        assert "or the environment variable HEROKU_API_KEY" in refusal(**given, heroku_app="app")


class TestPlace:
    """Only a dyno of the app itself may change its workers."""

    @pytest.mark.parametrize(
        ("variables", "why"),
        [
            ({}, ""),
            ({"HEROKU_APP_NAME": "an-app", "HEROKU_APP_ID": APP_ID}, ""),
            ({"HEROKU_APP_NAME": "its-review"}, "on a dyno of the Heroku app 'its-review'"),
            ({"HEROKU_TEST_RUN_ID": "1"}, "in Heroku CI"),
            ({"HEROKU_TEST_RUN_ID": "", "HEROKU_APP_NAME": ""}, ""),
            ({"DYNO": None}, "on no dyno"),
            ({"DYNO": " "}, "on no dyno"),
            ({"DYNO": None, "HEROKU_APP_NAME": "an-app"}, "on no dyno"),
        ],
    )
    def test_where_it_runs(
        self, environment: pytest.MonkeyPatch, variables: dict[str, str | None], why: str
    ) -> None:
        for name, value in variables.items():
            if value is None:
                environment.delenv(name)
            else:
                environment.setenv(name, value)
        inactive = settings(**ON_HEROKU).inactive
        assert why in inactive if why else inactive == ""
        assert settings(**ON_HEROKU, off_platform=True).inactive == ""
        assert settings().inactive == "", "local workers are of whatever machine"

    def test_an_app_that_is_given_by_its_id(self, environment: pytest.MonkeyPatch) -> None:
        by_id = {**ON_HEROKU, "heroku_app": APP_ID}
        environment.setenv("HEROKU_APP_NAME", "an-app")
        assert settings(**by_id).inactive == ""
        environment.setenv("HEROKU_APP_ID", APP_ID)
        assert settings(**by_id).inactive == ""
        environment.setenv("HEROKU_APP_ID", APP_ID.replace("0", "1"))
        assert "on a dyno of the Heroku app" in settings(**by_id).inactive

    def test_no_key_is_needed_elsewhere(self, environment: pytest.MonkeyPatch) -> None:
        environment.delenv("DYNO")
        assert settings(**{**ON_HEROKU, "heroku_api_key": None}).inactive
        with pytest.raises(ImproperlyConfigured, match="heroku_api_key is required"):
            settings(**{**ON_HEROKU, "heroku_api_key": None}, off_platform=True)

    @pytest.mark.parametrize("missing", ["heroku_app", "max_workers", "redis_url"])
    def test_what_is_missing_elsewhere_is_no_fault(
        self, environment: pytest.MonkeyPatch, missing: str
    ) -> None:
        given = {**ON_HEROKU, missing: None}
        assert f"{missing} is required" in refusal(**given)
        environment.delenv("DYNO")
        with pytest.raises(NotNeededHere, match=f"{missing} is required"):
            read(**given)


class TestNamespace:
    @pytest.mark.parametrize("namespace", ["CELERY", "CELERY_", "MY_APP"])
    def test_capitals(self, namespace: str) -> None:
        given = {f"{namespace.rstrip('_')}_MIDDLE_MANAGEMENT_{k.upper()}": LOCAL[k] for k in LOCAL}
        app = Celery("app", set_as_current=False)
        app.config_from_object(SimpleNamespace(**given), namespace=namespace)
        assert read_settings(app) == settings()

    def test_lower_case(self) -> None:
        app = Celery("app", set_as_current=False)
        given = {f"celery_middle_management_{name}": value for name, value in LOCAL.items()}
        app.config_from_object(given, namespace="celery")
        assert read_settings(app) == settings()

    def test_an_update_wins_where_it_does_for_celerys_own_settings(self) -> None:
        own = Celery("own", set_as_current=False)
        own.config_from_object({"CELERY_WORKER_CONCURRENCY": 5}, namespace="CELERY")
        own.conf.update(worker_concurrency=2)
        app = self.app(MAX_WORKERS=5)
        app.conf.update(middle_management_max_workers=2)
        found = read_settings(app)
        assert found
        assert found.pools[0].max_workers == own.conf.worker_concurrency

    @pytest.mark.parametrize(
        ("name", "value", "said"),
        [
            ("MAX_WORKERS", -1, "CELERY_MIDDLE_MANAGEMENT_MAX_WORKERS is -1; "),
            ("MAX_WORKERS", None, "CELERY_MIDDLE_MANAGEMENT_MAX_WORKERS is required"),
            (
                "MAX_WORKER",
                1,
                "CELERY_MIDDLE_MANAGEMENT_MAX_WORKER is unknown; "
                "did you mean CELERY_MIDDLE_MANAGEMENT_MAX_WORKERS?",
            ),
            (
                "POOLS",
                {"PDF": {"queue": []}},
                "CELERY_MIDDLE_MANAGEMENT_POOLS['PDF'].queue is unknown; "
                "did you mean CELERY_MIDDLE_MANAGEMENT_POOLS['PDF'].queues?",
            ),
        ],
    )
    def test_errors_name_what_the_user_wrote(self, name: str, value: object, said: str) -> None:
        with pytest.raises(ImproperlyConfigured) as caught:
            read_settings(self.app(**{name: value}))
        assert str(caught.value).startswith(said)

    def test_forgotten(self) -> None:
        app = Celery(set_as_current=False)
        own = SimpleNamespace(MIDDLE_MANAGEMENT_ENABLED=True)
        app.config_from_object(own, namespace="CELERY")
        with pytest.raises(ImproperlyConfigured) as caught:
            read_settings(app)
        assert str(caught.value) == (
            "MIDDLE_MANAGEMENT_ENABLED does nothing; did you mean CELERY_MIDDLE_MANAGEMENT_ENABLED?"
        )

    def test_a_variable_of_ones_own_that_the_setting_is_made_of(self) -> None:
        app = self.app(MAX_WORKERS=3)
        app.conf.update(MIDDLE_MANAGEMENT_MAX_WORKERS=3)
        assert read_settings(app) is not None

    def test_errors_name_what_the_user_wrote_without_the_namespace(self) -> None:
        app = self.app()
        app.conf.update(middle_management_call_interval=0)
        with pytest.raises(ImproperlyConfigured, match=r"^middle_management_call_interval is 0;"):
            read_settings(app)
        app.conf.update(middle_management_call_interval=1, middle_management_max_worker=1)
        with pytest.raises(ImproperlyConfigured, match=r"^middle_management_max_worker is unkn"):
            read_settings(app)

    def app(self, **given: Any) -> Celery:
        app = Celery("app", set_as_current=False)
        given = {**{name.upper(): value for name, value in LOCAL.items()}, **given}
        names = {f"CELERY_MIDDLE_MANAGEMENT_{name}": value for name, value in given.items()}
        app.config_from_object(SimpleNamespace(**names), namespace="CELERY")
        return app

    def test_django(self) -> None:
        """In a process of its own: Django can be configured once only."""
        pytest.importorskip("django")
        program = """if True:
            from celery import Celery
            from django.conf import settings
            from celery_middle_management.settings.reading import read_settings

            settings.configure(
                CELERY_BROKER_URL="redis://broker/3",
                CELERY_MIDDLE_MANAGEMENT_ENABLED=True,
                CELERY_MIDDLE_MANAGEMENT_PLATFORM="local",
                CELERY_MIDDLE_MANAGEMENT_POOLS={"pdf": {"queues": ["pdf"]}},
                CELERY_MIDDLE_MANAGEMENT_MAX_WORKERS=4,
                MIDDLE_MANAGEMENT_MAX_WORKERS="not Celery's",
            )
            app = Celery("app")
            app.config_from_object("django.conf:settings", namespace="CELERY")
            found = read_settings(app)
            print(found.redis_url.reveal(), found.pools)
        """
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        assert done.stdout == f"redis://broker/3 {(Pool('pdf', ('pdf',), 0, 4, 10),)}\n"


class TestRedis:
    """Where the ledger lives, and how to speak to it."""

    def test_the_setting_comes_first(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("REDIS_URL", "redis://env")
        celery = {"broker_url": "redis://broker", "result_backend": "redis://backend"}
        assert self.url(celery, redis_url="redis://ours") == "redis://ours"

    @pytest.mark.parametrize(
        ("broker", "backend", "url"),
        [
            ("redis://broker", "redis://backend", "redis://broker"),
            ("amqp://broker", "redis://backend", "redis://backend"),
            (None, "redis://backend", "redis://backend"),
            (None, "rpc://", "redis://env"),
            (None, None, "redis://env"),
            ("sentinel://broker", None, "redis://env"),
            ("amqp://a;redis://b;redis://c", None, "redis://b"),
            (["amqp://a", "redis://b", "redis://c"], None, "redis://b"),
            ("redis://b/0;", None, "redis://b/0"),
        ],
    )
    def test_else_celerys_else_the_environment(
        self, environment: pytest.MonkeyPatch, broker: object, backend: object, url: str
    ) -> None:
        environment.setenv("REDIS_URL", "redis://env")
        assert self.url({"broker_url": broker, "result_backend": backend}) == url

    def test_celerys_own_variables(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("CELERY_BROKER_URL", "redis://broker")
        assert self.url({}) == "redis://broker"

    @pytest.mark.parametrize(
        ("celery", "said"),
        [
            ({"broker_url": f"redis://:{HUNTER}#@host"}, "broker_url is redis://***; "),
            ({"result_backend": f"redis://h/{HUNTER}"}, "result_backend is redis://***; "),
        ],
    )
    def test_bad_addresses_of_celery(self, celery: dict[str, Any], said: str) -> None:
        assert refusal(celery, **{**LOCAL, "redis_url": None}).startswith(said)

    def test_a_bad_variable(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("REDIS_URL", f"memcache://{HUNTER}")
        message = refusal(**{**LOCAL, "redis_url": None})
        assert message.startswith("REDIS_URL is memcache://***; ")

    @pytest.mark.parametrize(
        ("given", "url"),
        [
            ("redis://", "redis://"),
            ("redis://user:p%40ss@host:6380/2", "redis://user:p%40ss@host:6380/2"),
            ("REDIS://host", "redis://host"),
            ("redis://host//3", "redis://host//3"),
            ("redis://host?db=3&heartbeat=5&socket_timeout=99", "redis://host?db=3"),
            ("unix:///run/redis.sock?db=2", "unix:///run/redis.sock?db=2"),
            ("redis+socket:///run/redis.sock", "unix:///run/redis.sock"),
            ("redis+socket:///run/r.sock?virtual_host=/2", "unix:///run/r.sock?db=2"),
            ("redis+socket://:pw@/run/r.sock", "unix://:pw@/run/r.sock"),
        ],
    )
    def test_addresses_without_tls(self, given: str, url: str) -> None:
        found = settings(redis_url=given)
        assert (found.redis_url.reveal(), found.redis_options) == (url, {})
        self.connection(found)

    NONE: ClassVar[dict[str, Any]] = {"ssl_cert_reqs": "none", "ssl_check_hostname": False}

    @pytest.mark.parametrize(
        ("query", "options"),
        [
            ("", {"ssl_cert_reqs": "required"}),
            ("?ssl_cert_reqs=CERT_NONE", NONE),
            ("?ssl_cert_reqs=none&ssl_check_hostname=true", NONE),
            ("?ssl_cert_reqs=CERT_OPTIONAL", {"ssl_cert_reqs": "optional"}),
            (
                "?ssl_cert_reqs=required&ssl_check_hostname=False&ssl_ca_certs=%2Fca.pem",
                {
                    "ssl_cert_reqs": "required",
                    "ssl_check_hostname": False,
                    "ssl_ca_certs": "/ca.pem",
                },
            ),
        ],
    )
    def test_tls_by_the_address(self, query: str, options: dict[str, Any]) -> None:
        found = settings(redis_url=f"rediss://host/1{query}")
        assert (found.redis_url.reveal(), found.redis_options) == ("rediss://host/1", options)
        connection = self.connection(found)
        assert isinstance(connection, redis.SSLConnection)
        assert connection.cert_reqs.name == f"CERT_{options['ssl_cert_reqs']}".upper()

    @pytest.mark.parametrize(
        ("use_ssl", "options"),
        [
            ({"ssl_cert_reqs": ssl.CERT_NONE}, NONE),
            ({"ssl_cert_reqs": None}, NONE),
            ({"ssl_cert_reqs": 2}, {"ssl_cert_reqs": "required"}),
            ({"ssl_cert_reqs": "CERT_REQUIRED"}, {"ssl_cert_reqs": "required"}),
            (
                {"ssl_keyfile": "k", "ssl_certfile": "c", "ssl_ca_certs": "a"},
                {
                    "ssl_cert_reqs": "required",
                    "ssl_keyfile": "k",
                    "ssl_certfile": "c",
                    "ssl_ca_certs": "a",
                },
            ),
        ],
    )
    @pytest.mark.parametrize("scheme", ["redis", "rediss"])
    @pytest.mark.parametrize(
        "names", [("broker_url", "broker_use_ssl"), ("result_backend", "redis_backend_use_ssl")]
    )
    def test_tls_by_celery(
        self, names: tuple[str, str], scheme: str, use_ssl: object, options: dict[str, Any]
    ) -> None:
        celery = dict(zip(names, (f"{scheme}://host/1", use_ssl), strict=True))
        found = settings(celery, redis_url=None)
        assert (found.redis_url.reveal(), found.redis_options) == ("rediss://host/1", options)
        assert isinstance(self.connection(found), redis.SSLConnection)

    def test_tls_of_another_address_is_not_ours(self) -> None:
        celery = {"broker_url": "redis://b", "broker_use_ssl": {"ssl_ca_certs": "a"}}
        assert settings(celery).redis_options == {}

    def test_herokus_certificates_are_self_signed(self) -> None:
        found = settings(**{**ON_HEROKU, "redis_url": "rediss://host"})
        assert found.redis_options == self.NONE

    def test_an_authority_is_asked_on_heroku_too(self) -> None:
        found = settings(**{**ON_HEROKU, "redis_url": "rediss://host?ssl_ca_certs=a"})
        assert found.redis_options["ssl_cert_reqs"] == "required"

    @pytest.mark.parametrize("value", ["maybe", 3, [0]])
    def test_bad_cert_reqs(self, value: object) -> None:
        celery = {"broker_url": "rediss://host", "broker_use_ssl": {"ssl_cert_reqs": value}}
        assert refusal(celery, **{**LOCAL, "redis_url": None}) == (
            f"ssl_cert_reqs of broker_url is {value!r}; "
            "allowed: CERT_NONE, CERT_OPTIONAL or CERT_REQUIRED"
        )

    def url(self, celery: dict[str, Any], **ours: Any) -> str:
        return settings(celery, **{"redis_url": None, **ours}).redis_url.reveal()

    def connection(self, found: Settings) -> Any:
        """One that redis-py would use; it connects to nothing yet."""
        pool = connect(found).connection_pool
        return pool.connection_class(**pool.connection_kwargs)


class TestWhatCeleryShows:
    """In ``celery report`` and ``celery inspect conf``."""

    URL = f"redis://:{HUNTER}@host/1"

    @pytest.fixture(autouse=True)
    def hidden(self) -> None:
        hide_from_celery()
        hide_from_celery()

    @pytest.mark.parametrize("name", ["redis_url", "heroku_api_key", "heroku_password", "redisurl"])
    def test_is_no_secret_and_the_setting_stays_what_it_was(self, name: str) -> None:
        app = app_with(**{name: self.URL})
        assert_masked(app, HUNTER)
        assert app.conf[f"middle_management_{name}"] == self.URL

    def test_is_no_secret_with_a_namespace_and_configured_twice(self) -> None:
        app = Celery("app", set_as_current=False)
        given = {f"CELERY_MIDDLE_MANAGEMENT_{k.upper()}": LOCAL[k] for k in LOCAL}
        for _ in range(2):
            app.config_from_object(
                {**given, "CELERY_MIDDLE_MANAGEMENT_REDIS_URL": self.URL},
                namespace="CELERY",
                force=True,
            )
            assert_masked(app, HUNTER)
            found = read_settings(app)
            assert found
            assert found.redis_url.reveal() == self.URL

    def test_is_what_helps_and_cannot_be_secret(self) -> None:
        table = app_with(max_workers=5, platform="local", pools={"pdf": {}}).conf.table()
        assert table["middle_management_max_workers"] == 5
        assert table["middle_management_platform"] == "local"
        assert table["middle_management_pools"] == {"pdf": {}}


class TestSecret:
    SECRET = Secret(HUNTER)

    @pytest.mark.parametrize("show", [str, repr, "{}".format, "{0!r:>9}".format, ascii])
    def test_shows_nothing(self, show: Any) -> None:
        assert show(self.SECRET).strip() == "***"
        assert HUNTER not in f"%s {show([self.SECRET])}" % self.SECRET

    def test_reveals(self) -> None:
        assert self.SECRET.reveal() == HUNTER

    def test_is_equal_by_value(self) -> None:
        assert Secret(HUNTER) == self.SECRET
        assert {self.SECRET, Secret(HUNTER)} == {Secret(HUNTER)}
        assert Secret("other") != self.SECRET
        assert self.SECRET != HUNTER
        assert Secret("é\udcff") == Secret("é\udcff")

    def test_is_never_serialized(self) -> None:
        with pytest.raises(TypeError, match=r"^a secret cannot be pickled$"):
            pickle.dumps(self.SECRET)
        with pytest.raises(TypeError):
            json.dumps(self.SECRET)
        assert not hasattr(self.SECRET, "__dict__")

    def test_a_copy_is_itself(self) -> None:
        assert copy.copy(self.SECRET) is self.SECRET
        assert copy.deepcopy(self.SECRET) is self.SECRET

    def test_settings_show_none(self) -> None:
        url = f"rediss://:{HUNTER}@host?ssl_password={HUNTER}"
        found = settings(**{**ON_HEROKU, "redis_url": url})
        assert found.redis_options["ssl_password"]() == HUNTER
        shown = f"{found} {found!r} {found.heroku}"
        assert HUNTER not in shown
        assert KEY not in shown
        assert KEY not in str(asdict(found))
