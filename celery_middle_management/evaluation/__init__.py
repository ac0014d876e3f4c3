"""One evaluation, through ports: no Redis, no Celery, and no clock of its own."""
