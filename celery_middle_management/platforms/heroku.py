"""Heroku, through heroku3: the dynos of an app's process types."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

from heroku3.models.app import App
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    wait_exponential,
    wait_random,
)

from celery_middle_management.log_throttle import LogThrottle
from celery_middle_management.platforms.base import Platform, PlatformError, Refused
from celery_middle_management.platforms.heroku_http import (
    HerokuSession,
    PassingTrouble,
)
from celery_middle_management.settings.model import Heroku

logger = logging.getLogger(__name__)

T = TypeVar("T")

SHORTEST_TRY = 0.25  # s: with less time than that left, no further try is begun
RUNNING = frozenset({"starting", "up", "idle"})


class HerokuPlatform(Platform):
    """Scales the app's formation. Thread-safe; keeps no connection open between calls."""

    def __init__(self, settings: Heroku) -> None:
        self._settings = settings
        self._trouble = LogThrottle(logger)

    def quantities(self, pools: Collection[str], deadline: float) -> dict[str, int | Refused]:
        formation = self._call(lambda app: _quantities(app.process_formation()), deadline)
        return {
            pool: formation[pool] if pool in formation else self._missing(pool, formation)
            for pool in pools
        }

    def scale(
        self, quantities: Mapping[str, int], deadline: float
    ) -> dict[str, int | PlatformError]:
        if not quantities:
            return {}
        try:
            return dict(self._update(quantities, deadline))
        except Refused as error:
            if len(quantities) == 1:
                return dict.fromkeys(quantities, error)
        # For the sake of one, Heroku has refused all.
        return self._singly(quantities, deadline)

    def running(self, pools: Collection[str], deadline: float) -> dict[str, list[str]]:
        def names(app: App) -> dict[str, list[str]]:
            dynos = [dyno for dyno in app.dynos() if dyno.state in RUNNING]
            return {pool: [str(d.name) for d in dynos if d.type == pool] for pool in pools}

        return self._call(names, deadline)

    def _singly(
        self, quantities: Mapping[str, int], deadline: float
    ) -> dict[str, int | PlatformError]:
        outcomes: dict[str, int | PlatformError] = {}
        trouble: PlatformError | None = None
        for pool, quantity in quantities.items():
            if trouble is not None:
                outcomes[pool] = PlatformError(f"Not asked for, since: {trouble}", settled=True)
                continue
            try:
                outcomes |= self._update({pool: quantity}, deadline)
            except Refused as error:
                outcomes[pool] = error
            except PlatformError as error:
                outcomes[pool] = trouble = error
        return outcomes

    def _update(self, quantities: Mapping[str, int], deadline: float) -> dict[str, int]:
        def update(app: App) -> dict[str, int]:
            formation = _quantities(app.batch_scale_formation_processes(quantities))
            return {pool: formation[pool] for pool in quantities}

        return self._call(update, deadline)

    def _call(self, work: Callable[[App], T], deadline: float) -> T:
        """Does *work*, again and again while it surely was not done, and there is time."""

        def no_time_for_another(state: RetryCallState) -> bool:
            return time.monotonic() + state.upcoming_sleep + SHORTEST_TRY > deadline

        retrying = Retrying(
            retry=retry_if_exception_type(PassingTrouble),
            wait=_wait,
            stop=no_time_for_another,
            reraise=True,
        )
        with HerokuSession(self._settings, deadline, self._trouble) as session:
            result: T = retrying(session.do, work)
        return result

    def _missing(self, pool: str, existing: Iterable[str]) -> Refused:
        listed = ", ".join(repr(name) for name in sorted(existing)) or "none"
        return Refused(
            f"Heroku app {self._settings.app!r} has no process type {pool!r}; it has {listed}."
            " Add the type to its Procfile and deploy, or name an existing one in"
            " middle_management_pools.",
            unknown=True,
        )


_backoff = wait_exponential(multiplier=0.2, max=3.0) + wait_random(0.0, 0.3)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, PlatformError) else None
    return max(asked or 0.0, _backoff(state))


def _quantities(formation: Iterable[Any]) -> dict[str, int]:
    """Raises TypeError if a quantity is not there."""
    return {str(process.type): int(process.quantity) for process in formation}
