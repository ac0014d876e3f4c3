"""The command ``manage.py publish 6``."""

from __future__ import annotations

from argparse import ArgumentParser

from django.core.management.base import BaseCommand

from proj.tasks import resize


class Command(BaseCommand):
    """Publish tasks, as a view would."""

    help = "Publish tasks."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the number of tasks."""
        parser.add_argument("count", type=int)

    def handle(self, *_: object, count: int, **__: object) -> None:
        """Publish them."""
        for number in range(1, count + 1):
            resize.delay(f"image-{number}.png")
        self.stdout.write(f"published {count} tasks")
