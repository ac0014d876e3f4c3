"""The two libraries that make blocking calls cooperative."""

from __future__ import annotations


def patch(library: str) -> None:
    """Patch the standard library with ``gevent`` or ``eventlet``."""
    if library == "gevent":
        from gevent import monkey

        monkey.patch_all()
    elif library == "eventlet":
        import eventlet

        eventlet.monkey_patch()
