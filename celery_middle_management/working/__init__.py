"""Runs in a Celery worker: reports what it holds, and stops it from taking tasks when told to."""
