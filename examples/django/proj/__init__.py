"""A Django project."""

from proj.celery import app as celery_app

__all__ = ["celery_app"]
