"""Settings of the ledger's Redis: where it is, and how to speak to it."""

from __future__ import annotations

import ssl
from typing import Any, ClassVar

import pytest
import redis

from celery_middle_management.ledger.connection import connect
from celery_middle_management.settings.model import Settings
from tests.unit.settings_given import (
    HUNTER,
    LOCAL,
    ON_HEROKU,
    refusal,
    settings,
)

pytestmark = pytest.mark.usefixtures("environment")


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
