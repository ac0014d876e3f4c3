"""Run the demo.

Exit status 0: every task ran and every worker is gone; 1: the demo failed; 2: a wrong option;
130: Ctrl-C.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import count

import redis
from rich.console import Console
from rich.live import Live

from celery_middle_management.demo.enter import Enter
from celery_middle_management.demo.outcome import Outcome
from celery_middle_management.demo.play import Interrupted, Play
from celery_middle_management.demo.stage import Stage
from celery_middle_management.demo.view import Boxes, Lines, View
from celery_middle_management.platforms.base import PlatformError

INTRODUCTION = """\
Middle Management for Celery: real tasks and real workers, on this machine.
One worker for each task that waits or runs, up to {max_workers}. Their number changes
at most every {call_interval:.3g} s (the default is 10 s).
"""
SLOWEST, FASTEST = 0.1, 5.0


class Signals:
    """Notes a signal to end, so that the demo ends at a good moment."""

    def __init__(self) -> None:
        self.received = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note)

    def _note(self, number: int, _: object) -> None:
        self.received = self.received or number

    def __call__(self) -> bool:
        return bool(self.received)


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the demo and return the exit status."""
    options = _options(arguments)
    interrupted = Signals()
    logging.getLogger("celery_middle_management").addHandler(logging.NullHandler())
    console, errors = Console(highlight=False), Console(stderr=True, highlight=False)
    try:
        with (
            Stage(one_off=options.one_off, speed=options.speed) as stage,
            Enter() if options.step else nullcontext() as enter,
        ):
            try:
                for _ in range(options.repeat) if options.repeat else count():
                    with _view(console) as view:
                        outcome = _perform(stage, view, interrupted, enter)
                    console.print(f"\n{outcome}\n", markup=False, soft_wrap=True)
                    if outcome.succeeded < outcome.tasks:
                        return 1
            except (TimeoutError, redis.RedisError, PlatformError) as error:
                errors.print(f"The demo failed: {error}", stage.logs(5), sep="\n", markup=False)
                return 1
    except RuntimeError as error:
        errors.print(f"The demo could not start: {error}", markup=False)
        return 1
    except Interrupted:
        errors.print("Interrupted; everything that was started has been stopped.")
        return 128 + interrupted.received
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m celery_middle_management.demo",
        usage="%(prog)s [options]",
        description="Watch workers being hired and fired for a minute. The Redis server, the "
        "Celery app and its workers are real; they run on this machine and are gone afterwards.",
    )
    parser.add_argument(
        "--speed",
        type=_speed,
        default=1.0,
        help=f"from {SLOWEST:g} to {FASTEST:g}: 0.5 is half as fast, 2 is twice as fast. "
        "How fast a worker starts depends on your machine alone",
    )
    parser.add_argument(
        "--repeat",
        type=_times,
        nargs="?",
        default=1,
        const=0,
        metavar="TIMES",
        help="play it that many times; without a number, until Ctrl-C",
    )
    parser.add_argument(
        "--step", action="store_true", help="wait for Enter before each of the three scenes"
    )
    parser.add_argument(
        "--one-off",
        action="store_true",
        help="hire workers singly; each leaves by itself, as one-off dynos do",
    )
    options = parser.parse_args(arguments)
    if options.step and not (sys.stdin and sys.stdin.isatty()):
        parser.error("--step waits for Enter, and standard input is not a terminal")
    return options


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not SLOWEST <= speed <= FASTEST:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number from {SLOWEST:g} to {FASTEST:g}"
        )
    return speed


def _times(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def _perform(stage: Stage, view: View, interrupted: Signals, enter: Enter | None) -> Outcome:
    settings = stage.managed.settings
    (pool,) = settings.pools
    view.say(
        INTRODUCTION.format(max_workers=pool.max_workers, call_interval=settings.call_interval)
    )
    return Play(stage, view, interrupted, enter).perform()


@contextmanager
def _view(console: Console) -> Iterator[View]:
    if console.is_terminal and not console.is_dumb_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield Boxes(live)
    else:
        yield Lines(console)


if __name__ == "__main__":
    sys.exit(main())
