"""Neither Celery nor the settings themselves show a secret."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import asdict
from typing import Any

import pytest
from celery import Celery

from celery_middle_management.settings.reading import (
    hide_from_celery,
    read_settings,
)
from celery_middle_management.settings.secret import Secret
from tests.unit.settings_given import (
    HUNTER,
    KEY,
    LOCAL,
    ON_HEROKU,
    app_with,
    assert_masked,
    settings,
)

pytestmark = pytest.mark.usefixtures("environment")


class TestWhatCeleryShows:
    """In ``celery report`` and ``celery inspect conf``."""

    URL = f"redis://:{HUNTER}@host/1"

    @pytest.fixture(autouse=True)
    def hidden(self) -> None:
        hide_from_celery()
        hide_from_celery()

    @pytest.mark.parametrize(
        "name", ["redis_url", "heroku_api_key", "heroku_password", "redisurl", "webhook"]
    )
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
