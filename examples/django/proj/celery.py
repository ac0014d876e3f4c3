"""The Celery app."""

from __future__ import annotations

import os

from celery import Celery

import celery_middle_management  # noqa: F401 - hires and fires the workers

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")

app = Celery("proj")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
