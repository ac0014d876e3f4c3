"""A person who pauses, resumes, hires and fires, while the file ``people`` exists.

Mostly by the functions that the commands call, in this process; sometimes by the page, as a web app
in this process has mounted it, or by the command itself.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any
from wsgiref.util import setup_testing_defaults

import redis

from celery_middle_management.app_setup import enabled_app_of
from celery_middle_management.ledger.manual_scaling import (
    NotDone,
    OutcomeUnknown,
    ask_for,
    pause,
    resume,
)
from celery_middle_management.web import Page, Visitor

from .app import app, directory, journal
from .stage import GHOST

PEOPLE = directory / "people"
#: Seconds between two acts of one person.
BETWEEN_ACTS = (1.0, 8.0)
#: These fractions are done by the command and by the page.
BY_COMMAND, BY_PAGE = 0.1, 0.3
#: The page's own token.
TOKEN = "x" * 43
#: How long (s) requests last. Only a pause that lasts longer than an evaluation can be judged.
SHORT, LONG = (3.0, 12.0), (25.0, 45.0)
#: A pause without end is ended by the same person after this time (s) at the latest.
PATIENCE = 40.0


class Person:
    """Does one thing after another, chosen at random."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)
        self._seed = seed
        self._requests = 0
        self._managed = enabled_app_of(app)
        self._visitor = Visitor("a person")
        self._page = Page(app, lambda _: self._visitor)
        #: Until when (``monotonic()``) it must have ended the pauses. The life before may have left
        #: one that has no end.
        self._resumes_by: float | None = 0.0

    def run(self) -> None:
        active = None
        while True:
            before, active = active, PEOPLE.exists()
            if not active and self._resumes_by is not None:
                self._resume()
            if before is not active:
                journal.write("busy" if active else "idle", pid=os.getpid())
            if active:
                self._act()
                self._rest(self._random.uniform(*BETWEEN_ACTS))
            else:
                time.sleep(0.05)

    def _act(self) -> None:
        if self._resumes_by is not None and time.monotonic() > self._resumes_by:
            self._resume()
        else:
            acts = [self._pause, self._resume, self._hire, self._fire]
            self._random.choices(acts, [8, 1, 16, 16])[0]()

    def _rest(self, seconds: float) -> None:
        over = time.monotonic() + seconds
        while time.monotonic() < over and PEOPLE.exists():
            time.sleep(0.05)

    def _pause(self) -> None:
        hires, fires = self._random.choice([(True, True), (True, False), (False, True)])
        lasts = self._random.choice([None, self._seconds(), self._seconds(LONG)])
        if lasts is None:
            self._resumes_by = time.monotonic() + self._random.uniform(20.0, PATIENCE)
        options = ["--hires"] * hires + ["--fires"] * fires
        self._ask(
            "pause",
            lambda who: pause(self._managed.ledger(), who, hires=hires, fires=fires, lasts=lasts),
            [*options, *self._for(lasts)],
            {"hires": hires, "fires": fires, "for": lasts},
            hires=hires,
            fires=fires,
            lasts=lasts,
        )

    def _resume(self) -> None:
        ledger = self._managed.ledger()
        if self._ask("resume", lambda who: resume(self._managed.settings, ledger, who), [], {}):
            self._resumes_by = None

    def _hire(self) -> None:
        self._change("hire", 1)

    def _fire(self) -> None:
        self._change("fire", -1)

    def _change(self, action: str, sign: int) -> None:
        pools = self._managed.settings.pools
        pool = self._random.choices(pools, [1 if p.name == GHOST else 5 for p in pools])[0]
        number, lasts = self._random.randint(1, 4), self._seconds()
        self._ask(
            action,
            lambda who: ask_for(self._managed.ledger(), pool, sign * number, who, lasts),
            [str(number), pool.name, *self._for(lasts)],
            {"pool": pool.name, "number": number, "for": lasts},
            pool=pool.name,
            number=number,
            lasts=lasts,
        )

    def _seconds(self, *kinds: tuple[float, float]) -> float:
        return float(round(self._random.uniform(*self._random.choice(kinds or (SHORT, LONG)))))

    def _for(self, lasts: float | None) -> list[str]:
        return [] if lasts is None else ["--for", f"{lasts:.0f}s"]

    def _ask(
        self,
        action: str,
        function: Callable[[str], Any],
        arguments: list[str],
        body: dict[str, Any],
        **facts: Any,
    ) -> bool:
        """Make a request, and record what was said of it; return whether it was done."""
        self._requests += 1
        who, at = f"{self._seed}-{self._requests}", time.time()
        ways = {
            "command": lambda: self._command(who, [action, *arguments]),
            "page": lambda: self._by_page(who, action, body),
            "function": lambda: self._function(function, who),
        }
        odds = [BY_COMMAND, BY_PAGE, 1 - BY_COMMAND - BY_PAGE]
        [by] = self._random.choices([*ways], odds)
        outcome, said = ways[by]()
        journal.write(
            "asked", at=at, until=time.time(), action=action, who=who, outcome=outcome, said=said,
            by=by, **facts,
        )  # fmt: skip
        if outcome == "done" and by == "function":
            self._managed.ensure_evaluation()
        return outcome == "done"

    def _function(self, function: Callable[[str], Any], who: str) -> tuple[str, str]:
        try:
            return "done", json.dumps(function(who))
        except NotDone as error:
            return "not done", str(error)
        except OutcomeUnknown as error:
            return "unknown", str(error)
        except (redis.RedisError, OSError) as error:
            return "failed", str(error)
        except Exception as error:  # noqa: BLE001
            return "broken", repr(error)

    def _by_page(self, who: str, action: str, body: dict[str, Any]) -> tuple[str, str]:
        self._visitor, sent = Visitor(who, may_act=True), json.dumps(body).encode()
        environ: dict[str, Any] = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": f"/{action}",
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(sent)),
            "HTTP_COOKIE": f"mm-page={TOKEN}",
            "HTTP_X_MM_TOKEN": TOKEN,
            "wsgi.input": io.BytesIO(sent),
        }
        setup_testing_defaults(environ)
        statuses: list[str] = []
        answer = self._page(environ, lambda status, *_: statuses.append(status[:3]))
        said = b"".join(answer).decode()
        if "It is not known whether" in said:
            return "unknown", said
        outcomes = {"200": "done", "409": "not done", "503": "failed"}
        return outcomes.get(statuses[-1], "broken"), said

    def _command(self, who: str, arguments: list[str]) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "celery", "-A", "tests.chaos.app", "mm", *arguments, "--json"],
            env={**os.environ, "LOGNAME": who},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return "done", done.stdout
        if done.returncode == -signal.SIGKILL:  # it held the lock, and was killed as the scaler
            return "unknown", "killed"
        if done.returncode != 1 or "Traceback" in done.stderr:
            return "broken", f"{done.returncode}: {done.stderr[-500:]}"
        if "It is not known whether" in done.stderr:
            return "unknown", done.stderr
        failed = "Redis could not be" in done.stderr
        return ("failed" if failed else "not done"), done.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", required=True)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Person(options.seed).run()


if __name__ == "__main__":
    main()
