"""Where an app's workers run."""

from __future__ import annotations

from collections.abc import Callable

from celery import Celery

from celery_middle_management.platforms.base import Platform, PlatformError, Refused
from celery_middle_management.settings.model import Settings

__all__ = ["Platform", "PlatformError", "Refused", "platform_for"]


def platform_for(settings: Settings) -> Callable[[Celery], Platform]:
    """What makes an app's platform as *settings* choose it. All that it needs is imported now."""
    if settings.heroku is not None:
        from celery_middle_management.platforms.heroku import HerokuPlatform

        account = settings.heroku
        return lambda _: HerokuPlatform(account)
    from celery_middle_management.platforms.local import LocalPlatform, default_directory

    return lambda app: LocalPlatform(app, settings.pools, default_directory(settings.redis_url))
