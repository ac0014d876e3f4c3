"""Pure functions and values: what is known of a pool, what it needs, and what to do about it.

Nothing in here knows Redis, Celery, a platform or a clock.
"""
