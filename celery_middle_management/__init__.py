"""Middle Management for Celery: hires and fires a Celery app's workers by itself.

Import this package in the module that makes the Celery app, and set ``middle_management_enabled``.
"""

from celery_middle_management.apps import watch_apps

__all__ = ["__version__"]

__version__ = "0.1.0"

watch_apps()
