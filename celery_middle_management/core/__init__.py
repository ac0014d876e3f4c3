"""Pure functions and values: the known state of a pool, its needs, and how to meet them.

Nothing here knows Redis, Celery, a platform or a clock.
"""
