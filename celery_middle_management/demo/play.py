"""The course of the demo: three slow images, a pause, a newsletter, and nobody left in the end."""

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
QUIET_SECONDS = 8.0
EMAILS, EMAIL_SECONDS = 105, 1.0
#: The demo fails if it takes longer (s).
LIMIT = 180.0

_TICK = 0.2  # s


class Interrupted(Exception):
    """Somebody wants the demo to end now."""


@dataclass(frozen=True)
class Outcome:
    """What it came to. Times in seconds."""

    tasks: int
    succeeded: int
    elapsed: float
    paid: float
    always_on: float

    def __str__(self) -> str:
        share = self.paid / self.always_on
        return (
            f"{self.succeeded} of {self.tasks} tasks done in {self.elapsed:.0f} s, "
            "and every worker is fired.\n"
            f"Paid: {self.paid:.0f} worker-seconds. The maximum, always on: {self.always_on:.0f}. "
            f"That is {share:.0%} of the price."
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
        self._paid = 0.0
        self._last_action: object = None
        (self._pool,) = stage.runtime.settings.pools

    def perform(self) -> Outcome:
        """Play it to its end.

        Raises:
            TimeoutError: it did not end within :data:`LIMIT`.
            Interrupted: it was.
        """
        from celery_middle_management.demo.app import email, image

        self._view.say(f"Somebody uploads {IMAGES} images, {IMAGE_SECONDS:g} s of work each.")
        self._ids += [image.delay(IMAGE_SECONDS).id for _ in range(IMAGES)]
        self._until_all_is_done()
        self._view.say(f"Nobody wants anything for {QUIET_SECONDS:g} s, and nobody is paid.")
        self._watch(QUIET_SECONDS)
        self._view.say(f"A newsletter: {EMAILS} emails, {EMAIL_SECONDS:g} s each.")
        self._ids += [email.delay(EMAIL_SECONDS).id for _ in range(EMAILS)]
        self._until_all_is_done()
        elapsed = time.monotonic() - self._began
        return Outcome(
            tasks=len(self._ids),
            succeeded=sum(state == states.SUCCESS for state in self._states()),
            elapsed=elapsed,
            paid=self._paid,
            always_on=elapsed * self._pool.max_workers,
        )

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

    def _show(self, hired: frozenset[str]) -> None:
        runtime, pool = self._stage.runtime, self._pool
        snapshot = runtime.ledger().snapshot()
        (status,) = status_of(runtime.settings, snapshot)["pools"]
        action = status["last_action"]
        if action and action["at"] != self._last_action:
            self._last_action = action["at"]
            self._view.say(action_line(action))
        published, running = len(self._ids), status["tasks"]["running"]
        done = min(read_pool(snapshot, pool).finished, published - running)
        names = [f"{pool.name}.{n}" for n in range(1, pool.max_workers + 1)]
        draining = status["workers"]["draining"]
        self._view.show(
            Moment(
                elapsed=self._ticked - self._began,
                waiting=published - running - done,
                running=running,
                done=done,
                workers=doings(names, hired, draining, snapshot.presences, snapshot.now),
                paid=self._paid,
            )
        )
