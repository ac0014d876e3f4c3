"""Runs in a Celery worker: reports what it holds, and limits or stops what it takes."""
