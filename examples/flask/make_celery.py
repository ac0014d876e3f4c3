"""The Celery app for `celery -A make_celery`."""

from __future__ import annotations

from web import create_app

flask_app = create_app()
celery_app = flask_app.extensions["celery"]
