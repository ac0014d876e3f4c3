"""Counts the app's tasks: turns Celery's signals into records in memory."""
