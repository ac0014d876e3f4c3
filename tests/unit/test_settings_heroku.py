"""Settings of Heroku, and whether a process runs where it may change the app's workers."""

from __future__ import annotations

import pytest
from celery.exceptions import ImproperlyConfigured

from celery_middle_management.settings.model import Heroku
from celery_middle_management.settings.reading import (
    NotNeededHere,
)
from celery_middle_management.settings.secret import Secret
from tests.unit.settings_given import (
    APP_ID,
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
            ({"DYNO": None}, "does not run on a dyno"),
            ({"DYNO": " "}, "does not run on a dyno"),
            ({"DYNO": None, "HEROKU_APP_NAME": "an-app"}, "does not run on a dyno"),
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
