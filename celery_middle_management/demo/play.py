"""The course of the demo: some images, a night, a newsletter with videos, and no worker left."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import takewhile
from typing import Any

from celery import Task, states

from celery_middle_management import inspection
from celery_middle_management.demo.enter import Enter
from celery_middle_management.demo.outcome import NIGHT_HOURS, Outcome
from celery_middle_management.demo.stage import Stage
from celery_middle_management.demo.view import (
    Moment,
    View,
    action_line,
    activities,
    drained,
    rest_line,
)
from celery_middle_management.ledger.pool_reading import read_pool
from celery_middle_management.views.status import status_of

#: The number of each task, and how long it takes at normal speed (s).
IMAGES, IMAGE_SECONDS = 3, 6.0
EMAILS, EMAIL_SECONDS = 105, 1.0
VIDEOS, VIDEO_SECONDS = 2, 25.0
#: Emails published before the videos, so that videos seldom go to the two workers that stay.
EMAILS_BEFORE = 5
#: The demo fails if it takes longer than their sum (s). The second is for normal speed.
LIMIT, TASKS_TAKE = 120.0, 60.0

_TICK = 0.2  # s


class Interrupted(Exception):
    """The demo was asked to end."""


class Play:
    """Plays the demo.

    Args:
        stage: the Redis server and the workers, and the speed.
        view: shows the demo.
        interrupted: returns True once the demo should end.
        enter: what to wait for before each step; None: no waiting.
    """

    def __init__(
        self,
        stage: Stage,
        view: View,
        interrupted: Callable[[], bool],
        enter: Enter | None = None,
    ) -> None:
        self._stage = stage
        self._view = view
        self._interrupted = interrupted
        self._enter = enter
        self._began = self._ticked = time.monotonic()
        # Ids, since an AsyncResult would still try to reach the Redis server after that has gone.
        self._ids: list[str] = []
        self._paid = self._night = self._waited = 0.0
        self._hour: int | None = None
        self._explained = self._said_why = False
        # When each worker was first seen hired (the ledger's time).
        self._hired: dict[str, float] = {}
        (self._pool,) = stage.managed.settings.pools
        self._seated = [""] * self._pool.max_workers
        # An earlier play on this stage may have left entries in the history.
        _, actions = inspection.actions(stage.managed)
        self._last_entry = actions[0] if actions else None
        snapshot = stage.managed.ledger().snapshot()
        (status,) = status_of(stage.managed.settings, snapshot)["pools"]
        self._finished_before = read_pool(snapshot, self._pool).finished
        self._last_action = status["last_action"]

    def perform(self) -> Outcome:
        """Play the demo to its end.

        Raises:
            TimeoutError: it did not end in time.
            Interrupted: it was asked to end.
        """
        from celery_middle_management.demo.app import email, image, video

        takes = {image: IMAGE_SECONDS, video: VIDEO_SECONDS, email: EMAIL_SECONDS}
        takes = {task: seconds / self._stage.speed for task, seconds in takes.items()}

        def publish(task: Task[..., None], count: int) -> None:
            self._ids += [task.delay(takes[task]).id for _ in range(count)]

        self._step(f"{IMAGES} images are uploaded; each takes {takes[image]:.3g} s of work.")
        publish(image, IMAGES)
        self._until_all_is_done()
        self._step("Night: no worker is hired, and none is paid for.")
        self._sleep()
        self._step(
            f"A newsletter: {EMAILS} emails of {takes[email]:.3g} s each, and {VIDEOS} videos of "
            f"{takes[video]:.3g} s each."
        )
        publish(email, EMAILS_BEFORE)
        publish(video, VIDEOS)
        publish(email, EMAILS - EMAILS_BEFORE)
        self._until_all_is_done()
        return Outcome(
            tasks=len(self._ids),
            succeeded=sum(state == states.SUCCESS for state in self._states()),
            elapsed=time.monotonic() - self._began - self._night - self._waited,
            night=self._night,
            paid=self._paid,
            maximum=self._pool.max_workers,
        )

    def _step(self, text: str) -> None:
        """Say what comes next and, with --step, wait for Enter."""
        self._explained = self._said_why = False
        self._view.say(text)
        if self._enter is None:
            return
        self._enter.forget()
        self._view.say("         Press Enter to go on.")
        while not self._enter.pressed():
            began = time.monotonic()
            self._tick()
            time.sleep(_TICK)
            self._waited += time.monotonic() - began

    def _sleep(self) -> None:
        """Let a night pass, at 3,600 times its speed."""
        began = time.monotonic()
        for self._hour in range(23, 23 + NIGHT_HOURS + 1):
            self._watch(1.0 / self._stage.speed)
        self._hour = None
        self._night = time.monotonic() - began

    def _until_all_is_done(self) -> None:
        """Wait until every task, every hired worker and every process has ended."""
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
        backend = self._stage.managed.app.backend
        return (backend.get_state(task_id) for task_id in self._ids)

    def _tick(self) -> bool:
        """Show the present moment; return True while any worker is hired."""
        now = time.monotonic()
        if self._interrupted():
            raise Interrupted
        limit = LIMIT + TASKS_TAKE / self._stage.speed
        if now - self._began - self._waited > limit:
            raise TimeoutError(f"the demo was not over after {limit:.0f} s")
        hired = self._stage.hired()
        self._paid += len(hired) * (now - self._ticked)
        self._ticked = now
        self._show(hired)
        return bool(hired)

    @property
    def _numbered(self) -> list[str]:
        return [f"{self._pool.name}.{n}" for n in range(1, self._pool.max_workers + 1)]

    def _seats(self, hired: frozenset[str]) -> list[str]:
        """Give each hired worker a seat that it keeps; blank names are free seats."""
        self._seated = [name if name in hired else "" for name in self._seated]
        for name in sorted(hired.difference(self._seated)):
            free = self._seated.index("") if "" in self._seated else len(self._seated)
            self._seated[free : free + 1] = [name]
        return [name or " " * (seat + 1) for seat, name in enumerate(self._seated)]

    def _show(self, hired: frozenset[str]) -> None:
        managed, pool = self._stage.managed, self._pool
        snapshot = managed.ledger().snapshot()
        (status,) = status_of(managed.settings, snapshot)["pools"]
        state = read_pool(snapshot, pool)
        self._hired = {name: self._hired.get(name, snapshot.now) for name in hired}
        draining = drained(state.cordon, self._hired) | drained(state.leave, self._hired)
        busy = {p.name for p in snapshot.presences if p.busy}
        self._say_actions(status, busy)
        published, running = len(self._ids), status["tasks"]["running"]
        done = min(state.finished - self._finished_before, published - running)
        names = self._seats(hired) if pool.one_off else self._numbered
        finishing = [name for name in names if name in draining & busy]
        if finishing and not self._explained and len(hired) > len(finishing):
            self._explained = True
            self._view.say(f"         {finishing[-1]} will be fired, and finishes its task first.")
        self._view.show(
            Moment(
                elapsed=self._ticked - self._began - self._waited,
                waiting=published - running - done,
                running=running,
                done=done,
                workers=activities(names, hired, draining, snapshot.presences, snapshot.now),
                paid=self._paid,
                hour=None if self._hour is None else self._hour % 24,
            )
        )

    def _say_actions(self, status: Mapping[str, Any], busy: Collection[str]) -> None:
        """Say what was done since the last call and, once a scene, why no more was done."""
        if status["last_action"] == self._last_action:
            return
        self._last_action = status["last_action"]
        _, actions = inspection.actions(self._stage.managed)
        new = [*takewhile(lambda entry: entry != self._last_entry, actions)]
        for action in reversed(new):
            self._last_entry = action
            if "reason" in action:  # a change made by others has no reason
                self._view.say(action_line(action))
        left, needed = self._last_action["to"], status["workers"]["needed"]
        if self._last_action["action"] == "fire" and left > needed and not self._said_why:
            self._said_why = True
            following = None if self._pool.one_off else f"{self._pool.name}.{left}"
            interval = self._stage.managed.settings.call_interval
            self._view.say(rest_line(following, following in busy, interval))
