"""Shell commands for a person to paste, with the names of the app in them."""

from __future__ import annotations

from celery import Celery

from celery_middle_management.app_import_path import celery_command
from celery_middle_management.settings.model import Settings


class ShellCommands:
    """The ``celery`` and ``heroku`` commands of one app."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    @property
    def celery(self) -> str:
        """The ``celery`` command of the app."""
        return celery_command(self._app, self._settings.celery_app)

    def worker(self, pool: str) -> str:
        """A command that starts a worker of *pool*, for its queues."""
        queues = {each.name: each.queues for each in self._settings.pools}[pool]
        option = f" -Q {','.join(queues)}" if queues else ""
        return f"{self.celery} worker{option}"

    @property
    def heroku_app(self) -> str:
        """The option of ``heroku`` that names the app; empty if that is not known."""
        return f" -a {self._settings.heroku.app}" if self._settings.heroku else ""

    def heroku(self, command: str) -> str:
        """A line of its own with a ``heroku`` *command*; empty on any other platform."""
        return f"\nheroku {command}{self.heroku_app}" if self.heroku_app else ""
