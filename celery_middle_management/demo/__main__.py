"""Run the demo: exit status 0 if every task ran and every worker is gone, 130 after Ctrl-C."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import redis
from rich.console import Console
from rich.live import Live

from celery_middle_management.demo.play import Interrupted, Outcome, Play
from celery_middle_management.demo.stage import Stage
from celery_middle_management.demo.view import Boxes, Lines, View
from celery_middle_management.platforms.base import PlatformError

INTRODUCTION = """\
Middle Management for Celery: real tasks, real workers, on this machine.
At most {max_workers} workers, one for each task that waits or runs. Their number changes
every {call_interval:g} s at most (10 s by default), so that this takes a minute only.
"""


class Signals:
    """Notes a signal that asks us to end, so that it interrupts nothing at a bad moment."""

    def __init__(self) -> None:
        self.received = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note)

    def _note(self, number: int, _: object) -> None:
        self.received = self.received or number

    def __call__(self) -> bool:
        return bool(self.received)


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the demo; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m celery_middle_management.demo")
    parser.add_argument(
        "--one-off",
        action="store_true",
        help="workers that are hired one by one and leave by themselves, as one-off dynos do",
    )
    options = parser.parse_args(arguments)
    interrupted = Signals()
    logging.getLogger("celery_middle_management").addHandler(logging.NullHandler())
    console, errors = Console(highlight=False), Console(stderr=True, highlight=False)
    try:
        with Stage(one_off=options.one_off) as stage, _view(console) as view:
            try:
                outcome = _perform(stage, view, interrupted)
            except (TimeoutError, redis.RedisError, PlatformError) as error:
                errors.print(f"The demo failed: {error}", stage.logs(5), sep="\n", markup=False)
                return 1
    except RuntimeError as error:
        errors.print(f"The demo could not start: {error}", markup=False)
        return 1
    except Interrupted:
        errors.print("Interrupted; everything that was started has been stopped.")
        return 128 + interrupted.received
    console.print(f"\n{outcome}", markup=False, soft_wrap=True)
    return 0 if outcome.succeeded == outcome.tasks else 1


def _perform(stage: Stage, view: View, interrupted: Signals) -> Outcome:
    settings = stage.runtime.settings
    (pool,) = settings.pools
    view.say(
        INTRODUCTION.format(max_workers=pool.max_workers, call_interval=settings.call_interval)
    )
    return Play(stage, view, interrupted).perform()


@contextmanager
def _view(console: Console) -> Iterator[View]:
    if console.is_terminal and not console.is_dumb_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield Boxes(live)
    else:
        yield Lines(console)


if __name__ == "__main__":
    sys.exit(main())
