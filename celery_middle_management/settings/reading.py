"""Reads Celery settings and environment variables into frozen, checked values."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from celery import Celery
from celery.app import utils as celery_utils
from celery.exceptions import ImproperlyConfigured

from celery_middle_management.settings import kinds, redis_url
from celery_middle_management.settings.model import Heroku, Settings
from celery_middle_management.settings.place import away_from
from celery_middle_management.settings.pools import read_pools
from celery_middle_management.settings.secret import Secret, bare
from celery_middle_management.settings.source import Given, Missing, Source, checked, require, shown
from celery_middle_management.settings.table import PREFIX, TABLE

#: The settings that `celery report` and `celery inspect conf` may show. The others are strings that
#: are secret, or unknown to us, or could hold a secret by mistake.
_HARMLESS = [
    name
    for name, setting in TABLE.items()
    if setting.kind
    not in (kinds.API_KEY, kinds.API_URL, kinds.APP, kinds.ANYTHING, kinds.REDIS_URL, kinds.WEBHOOK)
]


class NotNeededHere(ImproperlyConfigured):
    """A required setting is missing, which is no mistake in a process that never hires or fires."""


def read_settings(app: Celery) -> Settings | None:
    """Read the settings of *app* from its Celery configuration or, if absent, the environment.

    Returns:
        None if ``middle_management_enabled`` or the environment variable of that name is off; then
            nothing else is checked. Also None if both are absent; then only unknown names are
            refused, because one of them may be a misspelling.

    Raises:
        ImproperlyConfigured: a setting is unknown, missing or wrong. The message is one line that
            names the setting, its value (never a secret) and the allowed values.
        NotNeededHere: a required setting is missing, off the platform.
    """
    source = Source(app)
    source.load()
    try:
        return _read(source)
    except Exception as error:  # noqa: BLE001 - raised again
        failure = bare(error)
    # The removed frames hold the key and the password.
    raise failure


def _read(source: Source) -> Settings | None:
    # If the package is off, nothing else matters; if `enabled` is absent, it may be misspelled.
    if source.switched_off:
        return None
    enabled = source.get("enabled").value
    if enabled is not False:
        source.refuse_unknown()
    if not enabled:
        return None
    # Each setting is looked up and checked once.
    given = {name: source.get(name) for name in TABLE}
    value = {name: one.value for name, one in given.items()}
    if value["timezone"] is None:
        label = f"{given['timezone'].label}, by default the app's timezone,"
        given["timezone"] = Given(label, source.app_timezone)
    on_heroku = value["platform"] == "heroku"
    inactive = ""
    if on_heroku and not value["off_platform"]:
        inactive = away_from(value["heroku_app"], os.environ)
    try:
        # Heroku's Redis has a self-signed certificate.
        url, options = _redis(given["redis_url"], source.conf, verify=not on_heroku)
        return Settings(
            platform=value["platform"],
            pools=read_pools(given),
            redis_url=Secret(url),
            redis_options=options,
            call_interval=value["call_interval"],
            count_interval=value["count_interval"],
            drain_timeout=value["drain_timeout"],
            heroku=_heroku(given, calls=not inactive) if on_heroku else None,
            celery_app=value["celery_app"],
            dry_run=value["dry_run"],
            web_actions=value["web_actions"],
            webhook=Secret(value["webhook"]) if value["webhook"] else None,
            inactive=inactive,
        )
    except Missing as error:
        kind = NotNeededHere if inactive else ImproperlyConfigured
        raise kind(str(error)) from None


def hide_from_celery() -> None:
    """Make Celery mask our settings, except harmless ones, wherever it shows an app's settings.

    Celery itself masks by words in a setting's name. This only extends the masking; the settings
    keep their values for the code that reads them.
    """
    utils: Any = celery_utils  # celery-types lacks the attribute
    hidden = utils.HIDDEN_SETTINGS
    if PREFIX not in hidden.pattern:
        ours = f"{PREFIX}(?!({'|'.join(_HARMLESS)})$)"
        utils.HIDDEN_SETTINGS = re.compile(f"{hidden.pattern}|{ours}", hidden.flags)


def _heroku(all_given: Mapping[str, Given], *, calls: bool) -> Heroku:
    app, key = all_given["heroku_app"], all_given["heroku_api_key"]
    if key.value is None and (password := all_given["heroku_password"]).value is not None:
        key = password
    require(app, "heroku_app", " on Heroku: set it, or the environment variable HEROKU_APP_NAME")
    if calls:
        require(
            key, "heroku_api_key", " on Heroku: set it, or the environment variable HEROKU_API_KEY"
        )
    url = all_given["heroku_api_url"].value
    secret = Secret(key.value or "")
    return Heroku(app.value, secret, url, app_from=app.label, key_from=key.label)


def _redis(given: Given, conf: Any, *, verify: bool) -> tuple[str, dict[str, Any]]:
    use_ssl = None
    if given.value is None and (found := redis_url.celerys(conf)):
        given, use_ssl = checked(kinds.REDIS_URL, Given(found.setting, found.url)), found.ssl
    if given.value is None and (url := os.environ.get("REDIS_URL")):
        try:
            given = checked(kinds.REDIS_URL, Given("REDIS_URL", url))
        except ImproperlyConfigured as error:
            # The variable is not ours, and in a test it may be `memory://`.
            raise Missing(str(error)) from None
    require(given, "redis_url", ": neither the broker, the result backend nor REDIS_URL is Redis")
    try:
        return redis_url.for_redis_py(given.value, use_ssl, verify=verify)
    except ValueError as error:
        label = f"ssl_cert_reqs of {given.label}"
        raise ImproperlyConfigured(
            f"{label} is {shown(error.args[0])}; allowed: {redis_url.CERT_REQS}"
        ) from None
