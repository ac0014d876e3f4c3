"""Platforms: where an app's workers run, and how they are hired and fired there."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from celery import Celery

from celery_middle_management.platforms.base import Platform, PlatformError, Refused
from celery_middle_management.settings.model import Settings

__all__ = ["Chosen", "Platform", "PlatformError", "Refused", "platform_for"]


class Chosen(NamedTuple):
    """A kind of platform, and a function that makes the platform of an app."""

    kind: type[Platform]
    make: Callable[[Celery], Platform]


def platform_for(settings: Settings) -> Chosen:
    """Return the platform that *settings* choose, with everything that it needs imported."""
    if settings.heroku is not None:
        from celery_middle_management.platforms.heroku import HerokuPlatform

        account = settings.heroku
        return Chosen(HerokuPlatform, lambda _: HerokuPlatform(account, settings.pools))
    from celery_middle_management.platforms.local import LocalPlatform
    from celery_middle_management.platforms.local_files import default_directory

    def make(app: Celery) -> Platform:
        directory = default_directory(settings.redis_url)
        return LocalPlatform(app, settings.pools, directory, app_name=settings.celery_app)

    return Chosen(LocalPlatform, make)
