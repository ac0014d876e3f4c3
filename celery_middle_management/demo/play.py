"""The course of the demo: some images, a night, a newsletter with films, and nobody in the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from celery import states

from celery_middle_management.demo.stage import Stage
from celery_middle_management.demo.view import Moment, View, action_line, doings
from celery_middle_management.ledger.pool import read_pool
from celery_middle_management.views.status import status_of

IMAGES, IMAGE_SECONDS = 3, 6.0
#: The hours of a night, each shortened to a second.
NIGHT = range(23, 32)
EMAILS, EMAIL_SECONDS = 105, 1.0
VIDEOS, VIDEO_SECONDS = 2, 30.0
#: The demo fails if it takes longer (s).
LIMIT = 180.0

_TICK = 0.2  # s
#: What Heroku asks for a standard-1x dyno, by the second ($ a month).
_DYNO = 25.0


class Interrupted(Exception):
    """Somebody wants the demo to end now."""


@dataclass(frozen=True)
class Outcome:
    """What it came to. Times in seconds, the night left out."""

    tasks: int
    succeeded: int
    elapsed: float
    paid: float
    maximum: int

    @property
    def always_on(self) -> float:
        """Worker-seconds that the maximum would have cost."""
        return self.elapsed * self.maximum

    def __str__(self) -> str:
        share, hours = self.paid / self.always_on, len(NIGHT) - 1
        month = self.maximum * _DYNO
        return (
            f"{self.succeeded} of {self.tasks} tasks done in {self.elapsed:.0f} s, "
            "and every worker is fired.\n"
            f"Paid: {self.paid:.0f} worker-seconds. The maximum, always on: {self.always_on:.0f}. "
            f"That is {share:.0%} of the price.\n\n"
            f"On Heroku, {self.maximum} standard-1x dynos that are always on cost ${month:.0f} a "
            f"month.\nWith days like this minute, and nights of {hours} hours at zero, it would be "
            f"${month * share * (24 - hours) / 24:.0f}.\n\n"
            'Next, your own app: "Getting started" in README.md.'
        )


class Play:
    """The demo on its *stage*, shown in a *view*; ends early once *interrupted* says so."""

    def __init__(self, stage: Stage, view: View, interrupted: Callable[[], bool]) -> None:
        self._stage = stage
        self._view = view
        self._interrupted = interrupted
        self._began = self._ticked = time.monotonic()
        # Not their results: these would seek the Redis server when it is gone.
        self._ids: list[str] = []
        self._paid = self._night = 0.0
        self._hour: int | None = None
        self._explained = False
        self._last_action: object = None
        (self._pool,) = stage.runtime.settings.pools
        self._seated = [""] * self._pool.max_workers

    def perform(self) -> Outcome:
        """Play it to its end.

        Raises:
            TimeoutError: it did not end within :data:`LIMIT`.
            Interrupted: it was.
        """
        from celery_middle_management.demo.app import email, image, video

        self._view.say(f"Somebody uploads {IMAGES} images, {IMAGE_SECONDS:g} s of work each.")
        self._ids += [image.delay(IMAGE_SECONDS).id for _ in range(IMAGES)]
        self._until_all_is_done()
        self._sleep()
        self._explained = False
        self._view.say(
            f"{VIDEOS} films to encode, {VIDEO_SECONDS:g} s each, and a newsletter: "
            f"{EMAILS} emails, {EMAIL_SECONDS:g} s each."
        )
        self._ids += [video.delay(VIDEO_SECONDS).id for _ in range(VIDEOS)]
        self._ids += [email.delay(EMAIL_SECONDS).id for _ in range(EMAILS)]
        self._until_all_is_done()
        elapsed = time.monotonic() - self._began - self._night
        return Outcome(
            tasks=len(self._ids),
            succeeded=sum(state == states.SUCCESS for state in self._states()),
            elapsed=elapsed,
            paid=self._paid,
            maximum=self._pool.max_workers,
        )

    def _sleep(self) -> None:
        """A night, at 3,600 times its speed."""
        began = time.monotonic()
        self._view.say("Night. An hour passes each second; nobody is hired, and nobody is paid.")
        for self._hour in NIGHT:
            self._watch(1.0)
        self._hour = None
        self._night = time.monotonic() - began

    def _until_all_is_done(self) -> None:
        """Until every task has ended and no worker is hired, nor its process there."""
        while self._tick() or not self._all_ready() or not self._stage.empty():
            time.sleep(_TICK)

    def _watch(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._tick()
            time.sleep(_TICK)

    def _all_ready(self) -> bool:
        return all(state in states.READY_STATES for state in self._states())

    def _states(self) -> Iterator[str]:
        backend = self._stage.runtime.app.backend
        return (backend.get_state(task_id) for task_id in self._ids)

    def _tick(self) -> bool:
        """Show how things are; whether anybody is hired."""
        now = time.monotonic()
        if self._interrupted():
            raise Interrupted
        if now - self._began > LIMIT:
            raise TimeoutError(f"the demo was not over after {LIMIT:.0f} s")
        hired = self._stage.hired()
        self._paid += len(hired) * (now - self._ticked)
        self._ticked = now
        self._show(hired)
        return bool(hired)

    @property
    def _numbered(self) -> list[str]:
        return [f"{self._pool.name}.{n}" for n in range(1, self._pool.max_workers + 1)]

    def _seats(self, hired: frozenset[str]) -> list[str]:
        """Each who is hired keeps the seat that was free when it came; blank names are free."""
        self._seated = [name if name in hired else "" for name in self._seated]
        for name in sorted(hired.difference(self._seated)):
            free = self._seated.index("") if "" in self._seated else len(self._seated)
            self._seated[free : free + 1] = [name]
        return [name or " " * (seat + 1) for seat, name in enumerate(self._seated)]

    def _show(self, hired: frozenset[str]) -> None:
        runtime, pool = self._stage.runtime, self._pool
        snapshot = runtime.ledger().snapshot()
        (status,) = status_of(runtime.settings, snapshot)["pools"]
        action = status["last_action"]
        if action and action["at"] != self._last_action:
            self._last_action = action["at"]
            self._view.say(action_line(action))
        state = read_pool(snapshot, pool)
        draining = {*status["workers"]["draining"], *state.leave.names}
        published, running = len(self._ids), status["tasks"]["running"]
        done = min(state.finished, published - running)
        finishing = [p.name for p in snapshot.presences if p.name in draining and p.busy]
        if finishing and not self._explained and len(hired) > len(finishing):
            self._explained = True
            self._view.say(f"         {finishing[0]} is to go, and finishes its task before.")
        names = self._seats(hired) if pool.one_off else self._numbered
        self._view.show(
            Moment(
                elapsed=self._ticked - self._began,
                waiting=published - running - done,
                running=running,
                done=done,
                workers=doings(names, hired, draining, snapshot.presences, snapshot.now),
                paid=self._paid,
                hour=None if self._hour is None else self._hour % 24,
            )
        )
