"""What is told outside the ledger after an evaluation: signals in this process, and messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from celery import Celery

from celery_middle_management.reporting.messenger import History, Messenger
from celery_middle_management.reporting.signalling import Signalling
from celery_middle_management.settings.model import Settings


class Announcer:
    """Announces what evaluations of one app in this process have done. It delays none of them."""

    def __init__(self, app: Celery, settings: Settings, history: Callable[[], History]) -> None:
        self._signalling = Signalling(app)
        self._messenger: Messenger | None = None
        if settings.webhook is not None:
            name = settings.heroku.app if settings.heroku else (app.main or "celery")
            self._messenger = Messenger(name, settings.webhook, history)

    def evaluated(self, written: Sequence[str]) -> None:
        """Announce the entries that an evaluation has *written* into the history.

        The messenger also looks for entries that other processes have left: those of a person's
        requests, and of an evaluation whose process has died.
        """
        # Messages first: at the end of a process both may be sent in this thread, and receivers may
        # take long.
        if self._messenger is not None:
            self._messenger.wake()
        if written:
            self._signalling.send(written)

    def wait(self, seconds: float) -> None:
        """Wait until all messages are sent, for some *seconds* at most."""
        if self._messenger is not None:
            self._messenger.wait(seconds)
