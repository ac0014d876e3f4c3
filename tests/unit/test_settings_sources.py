"""Settings come from Celery's configuration, with a namespace or without, or the environment."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import ImproperlyConfigured

from celery_middle_management.core.pools import Pool
from celery_middle_management.settings.model import Heroku, Settings
from celery_middle_management.settings.reading import (
    read_settings,
)
from celery_middle_management.settings.secret import Secret
from tests.unit.settings_given import (
    KEY,
    LOCAL,
    ON_HEROKU,
    read,
    refusal,
    settings,
)

pytestmark = pytest.mark.usefixtures("environment")

WHOLE = "a whole number, 0 or more"
POSITIVE = "a positive whole number"
SECONDS = "a number of seconds above 0"
POOLS = "a dict with a dict for each pool"
QUEUES = "a list of queue names"
APP = "the name or the id of a Heroku app"
API_URL = "an http:// or https:// address without user, password, query or fragment"
REDIS = "redis://user:password@host:port/database"
PROCESS_TYPE = "a Heroku process type"


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
            "MIDDLE_MANAGEMENT_ENABLED has no effect; "
            "did you mean CELERY_MIDDLE_MANAGEMENT_ENABLED?"
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
