"""Marks an app's messages, because Celery's signals do not say which app publishes.

The mark is put into the headers where the app hands the message to its ``amqp``, as ``delay()``,
``send_task()``, a chain, a retry and beat all do. So the mark is right whatever other apps in the
process publish at the same time, in the same thread or another.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from celery.utils.imports import instantiate

from celery_middle_management.celery_internals import CREATE_SENDER

#: The header that holds the mark. It stays in the message, but means nothing in another process.
MARK = "mm_app"


class Mark(str):
    """A mark that was put in just now. A mark copied by a retry is a plain string."""

    __slots__ = ()


_SEND = "send_task_message"


def mark_messages(app: Any, mark: Mark) -> None:
    """Put *mark* into every message that *app* sends.

    Celery makes ``app.amqp``, and its sending function, at their first use, from the settings of
    that moment: we must not trigger that any sooner.
    """
    app.amqp_cls = _Marked(app.amqp_cls, mark)
    if "amqp" in vars(app):  # made before, or by another thread meanwhile
        _mark_messages(app.amqp, mark)


class _Marked:
    """Stands in for an app's ``amqp_cls``, a class or its name, and adds the mark."""

    def __init__(self, made: Any, mark: Mark) -> None:
        self._made = made
        self._mark = mark

    def __call__(self, *args: Any, **options: Any) -> Any:
        amqp = instantiate(self._made, *args, **options)
        _mark_messages(amqp, self._mark)
        return amqp

    def __reduce__(self) -> tuple[Callable[[Any], Any], tuple[Any]]:
        # Celery pickles an app with its classes. The copy gets the original, and is set up anew.
        return _identity, (self._made,)


def _identity(made: Any) -> Any:
    return made


def _mark_messages(amqp: Any, mark: Mark) -> None:
    create = getattr(amqp, CREATE_SENDER, None)
    if _SEND in vars(amqp) or create is None:
        setattr(amqp, _SEND, _marking(getattr(amqp, _SEND), mark))
    else:
        setattr(amqp, CREATE_SENDER, lambda: _marking(create(), mark))


def _marking(send: Callable[..., Any], mark: Mark) -> Callable[..., Any]:
    @wraps(send)
    def send_task_message(*args: Any, headers: Any = None, **options: Any) -> Any:
        # Our mark comes last: a retry may have copied the mark of an earlier message.
        return send(*args, headers={**dict(headers or ()), MARK: mark}, **options)

    return send_task_message
