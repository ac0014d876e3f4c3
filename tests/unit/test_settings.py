"""Settings: their values, and the messages about wrong ones."""

from __future__ import annotations

from typing import Any

import pytest

from celery_middle_management.core.pools import Pool
from celery_middle_management.settings.model import Heroku, Settings
from celery_middle_management.settings.secret import Secret
from tests.unit.settings_given import (
    HUNTER,
    KEY,
    LOCAL,
    ON_HEROKU,
    heroku,
    read,
    refusal,
    settings,
)

pytestmark = pytest.mark.usefixtures("environment")


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
POSITIVE = "a positive whole number, or 'auto'"
SECONDS = "a number of seconds above 0"
POOLS = "a dict with a dict for each pool"
QUEUES = "a list of queue names"
APP = "the name or the id of a Heroku app"
API_URL = "an http:// or https:// address without user, password, query or fragment"
REDIS = "redis://user:password@host:port/database"
PROCESS_TYPE = "a Heroku process type"
SCHEDULE = "a list with a dict for each time"
TIMEZONE = "the IANA name of a time zone"

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
    ("jobs_per_worker", "Auto", "is 'Auto'", POSITIVE),
    ("jobs_per_worker", "2", "is '2', a string; ", POSITIVE),
    ("jobs_per_worker", False, "is False", POSITIVE),
    ("max_wait", 0, "is 0", SECONDS),
    ("max_wait", -3, "is -3", SECONDS),
    ("max_wait", "30", "is '30', a string; ", SECONDS),
    ("max_wait", "auto", "is 'auto'", SECONDS),
    ("max_wait", True, "is True", SECONDS),
    ("call_interval", 0, "is 0", SECONDS),
    ("call_interval", -1.5, "is -1.5", SECONDS),
    ("call_interval", float("nan"), "is nan", SECONDS),
    ("call_interval", float("inf"), "is inf", SECONDS),
    ("call_interval", 10**400, "is 1000", SECONDS),
    ("call_interval", "10", "is '10'", SECONDS),
    ("call_interval", True, "is True", SECONDS),
    ("count_interval", 0, "is 0", SECONDS),
    ("count_interval", [1], "is [1]", SECONDS),
    ("drain_timeout", 0, "is 0", SECONDS),
    ("drain_timeout", False, "is False", SECONDS),
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
    ("schedule", [], "is []", SCHEDULE),
    ("schedule", {}, "is {}", SCHEDULE),
    ("schedule", "0 8 * * *", "is '0 8 * * *'", SCHEDULE),
    ("schedule", ["0 8 * * *"], "is ['0 8 * * *']", SCHEDULE),
    ("schedule", [{8: 3}], "is [{8: 3}]", SCHEDULE),
    ("timezone", "Europe", "is 'Europe'", TIMEZONE),
    ("timezone", "Europe/Berlinn", "is 'Europe/Berlinn'", TIMEZONE),
    ("timezone", "../etc/passwd", "is '../etc/passwd'", TIMEZONE),
    ("timezone", "", "is ''", TIMEZONE),
    ("timezone", 1, "is 1", TIMEZONE),
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
    ({"a": {"jobs_per_worker": "many"}}, "{}['a'].jobs_per_worker is 'many'", POSITIVE),
    ({"a": {"max_wait": 0}}, "{}['a'].max_wait is 0", SECONDS),
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
