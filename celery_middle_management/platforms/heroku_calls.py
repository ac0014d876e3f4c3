"""Calls of Heroku's API: a request is tried again only if it surely was not carried out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from heroku3.models.app import App
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    wait_exponential,
    wait_random,
)

from celery_middle_management.log_throttle import LogThrottle
from celery_middle_management.platforms.base import PlatformError
from celery_middle_management.platforms.heroku_answers import PassingTrouble
from celery_middle_management.platforms.heroku_http import HerokuSession
from celery_middle_management.settings.model import Heroku

logger = logging.getLogger(__name__)

T = TypeVar("T")

SHORTEST_TRY = 0.25  # s: with less time left, no further try begins


class HerokuCalls:
    """Makes the calls of one account. Thread-safe; keeps no connection open between them."""

    def __init__(self, settings: Heroku) -> None:
        self._settings = settings
        self._trouble = LogThrottle(logger)

    def call(self, work: Callable[[App], T], deadline: float) -> T:
        """Do *work*; try it again, until *deadline*, as long as it surely was not carried out.

        Raises:
            PlatformError: the last try failed.
        """

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


_backoff = wait_exponential(multiplier=0.2, max=3.0) + wait_random(0.0, 0.3)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, PlatformError) else None
    return max(asked or 0.0, _backoff(state))
