"""The few settings that Django needs, and those of Celery and Middle Management."""

from __future__ import annotations

import os

SECRET_KEY = os.environ.get("SECRET_KEY", "for trying out")
DEBUG = False
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["proj"]
USE_TZ = True

CELERY_BROKER_URL = os.environ["REDIS_URL"]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_CONCURRENCY = 1

CELERY_MIDDLE_MANAGEMENT_ENABLED = True
CELERY_MIDDLE_MANAGEMENT_PLATFORM = "local"
CELERY_MIDDLE_MANAGEMENT_MAX_WORKERS = 3
CELERY_MIDDLE_MANAGEMENT_JOBS_PER_WORKER = 2
