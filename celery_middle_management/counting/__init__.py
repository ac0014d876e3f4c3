"""Counts the app's tasks: Celery's signals become records in memory."""
