"""Every setting: its name, the kind of its value, and its default."""

from __future__ import annotations

from typing import Any, NamedTuple

from celery_middle_management.settings import kinds
from celery_middle_management.settings.kinds import Kind

#: The beginning of every setting's name.
PREFIX = "middle_management_"


class Setting(NamedTuple):
    kind: Kind
    default: Any = None
    fallback: str = ""
    """The environment variable to read if the setting's own is not set."""


TABLE = {
    "enabled": Setting(kinds.BOOLEAN),
    "platform": Setting(kinds.PLATFORM, "heroku"),
    "celery_app": Setting(kinds.CELERY_APP),
    "heroku_app": Setting(kinds.APP, fallback="HEROKU_APP_NAME"),
    "heroku_api_key": Setting(kinds.API_KEY, fallback="HEROKU_API_KEY"),
    "heroku_username": Setting(kinds.ANYTHING),  # the Ruby gem's setting; unused
    "heroku_password": Setting(kinds.API_KEY),  # the Ruby gem's name for the key
    "heroku_api_url": Setting(kinds.API_URL, "https://api.heroku.com"),
    "redis_url": Setting(kinds.REDIS_URL),
    "min_workers": Setting(kinds.WHOLE, 0),
    "max_workers": Setting(kinds.WHOLE),
    "jobs_per_worker": Setting(kinds.POSITIVE_OR_AUTO, 10),
    "max_wait": Setting(kinds.SECONDS),
    "dynos": Setting(kinds.DYNOS, "formation"),
    "dyno_size": Setting(kinds.DYNO_SIZE),
    "schedule": Setting(kinds.SCHEDULE),
    "timezone": Setting(kinds.TIMEZONE),
    "pools": Setting(kinds.POOLS, {"worker": {}}),
    "call_interval": Setting(kinds.SECONDS, 10.0),
    "count_interval": Setting(kinds.SECONDS, 60.0),
    "drain_timeout": Setting(kinds.SECONDS),
    "dry_run": Setting(kinds.BOOLEAN, False),
    "off_platform": Setting(kinds.BOOLEAN, False),
    "web_actions": Setting(kinds.BOOLEAN, False),
    "webhook": Setting(kinds.WEBHOOK),
}
#: The settings that a pool can override.
OF_A_POOL = (
    *("min_workers", "max_workers", "jobs_per_worker", "max_wait"),
    *("dynos", "dyno_size", "schedule"),
)
