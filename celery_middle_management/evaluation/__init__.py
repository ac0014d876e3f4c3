"""One evaluation, which reaches Redis, Celery and the clock only through ports."""
