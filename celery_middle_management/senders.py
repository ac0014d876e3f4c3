"""Makes an app's messages say which app publishes them, for Celery's signals do not.

A mark is put into the headers where the app hands the message to its ``amqp``, whoever calls that:
``delay()``, ``send_task()``, a chain, a retry, beat. So it is the message that tells, whatever
other apps of the process publish meanwhile, in the same thread or another.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from celery.utils.imports import instantiate

#: The header of the mark. It travels with the message, and means nothing in another process.
MARK = "mm_app"


class Mark(str):
    """A mark as it was put in just now: one that a retry hands on is a plain string."""

    __slots__ = ()


_SEND = "send_task_message"
_CREATE = "_create_task_sender"


def mark_messages(app: Any, mark: Mark) -> None:
    """Have every message that *app* sends bear *mark*.

    Celery makes ``app.amqp``, and its function that sends, at their first use, from the settings of
    that moment: they must not be made any sooner for us.
    """
    if "amqp" in vars(app):
        _mark_messages(app.amqp, mark)
        return
    made = app.amqp_cls

    def make(*args: Any, **options: Any) -> Any:
        amqp = instantiate(made, *args, **options)
        _mark_messages(amqp, mark)
        return amqp

    app.amqp_cls = make


def _mark_messages(amqp: Any, mark: Mark) -> None:
    create = getattr(amqp, _CREATE, None)
    if _SEND in vars(amqp) or create is None:
        setattr(amqp, _SEND, _marking(getattr(amqp, _SEND), mark))
    else:
        setattr(amqp, _CREATE, lambda: _marking(create(), mark))


def _marking(send: Callable[..., Any], mark: Mark) -> Callable[..., Any]:
    @wraps(send)
    def send_task_message(*args: Any, headers: Any = None, **options: Any) -> Any:
        # Last, for a retry may hand on the mark of an earlier message.
        return send(*args, headers={**dict(headers or ()), MARK: mark}, **options)

    return send_task_message
