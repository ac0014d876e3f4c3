"""Where an app's workers run."""

from __future__ import annotations

from celery import Celery

from celery_middle_management.platforms.base import Platform, PlatformError, Refused
from celery_middle_management.platforms.heroku import HerokuPlatform
from celery_middle_management.platforms.local import LocalPlatform, default_directory
from celery_middle_management.settings.model import Settings

__all__ = ["Platform", "PlatformError", "Refused", "platform_of"]


def platform_of(app: Celery, settings: Settings) -> Platform:
    """The platform that *settings* choose."""
    if settings.heroku is not None:
        return HerokuPlatform(settings.heroku)
    return LocalPlatform(app, settings.pools, default_directory(settings.redis_url))
