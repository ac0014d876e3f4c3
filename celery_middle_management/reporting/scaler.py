"""Runs the evaluations of an app, with its real ledger, broker and platform."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from time import monotonic

import redis
from celery import Celery

from celery_middle_management.brokers.base import Broker
from celery_middle_management.counting.declared import named_queues
from celery_middle_management.counting.delayed import delayed_natively
from celery_middle_management.evaluation.evaluation import Evaluation
from celery_middle_management.evaluation.ports import Ledger, Ports, Queues
from celery_middle_management.ledger.model import Lease, LeaseLost
from celery_middle_management.log_throttle import LogThrottle
from celery_middle_management.platforms.base import Platform
from celery_middle_management.settings.model import Settings

logger = logging.getLogger("celery_middle_management")

#: When this process was started, or the one that it was forked from.
_BORN = monotonic()


class Scaler:
    """Evaluates an app's pools. Never raises: errors are logged, the next evaluation retries."""

    def __init__(
        self,
        app: Celery,
        settings: Settings,
        ledger: Ledger,
        broker: Broker,
        platform: Platform,
        *,
        evaluated: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> None:
        self._app = app
        self._settings = settings
        self._ledger = ledger
        self._broker = broker
        self._platform = platform
        #: Called after each evaluation with the entries of the history that it has written.
        self._evaluated = evaluated
        self._declared = named_queues(app)
        self._trouble = LogThrottle(logger)
        self._made = monotonic()

    def evaluate(self, lease: Lease) -> None:
        """Make one evaluation under *lease*; see :class:`Evaluation`."""
        written: list[str] = []
        try:
            evaluation = Evaluation(lease, self._settings, self._ports())
            written = evaluation.written
            evaluation.run()
        except LeaseLost:
            self._trouble.warn("lease", "an evaluation took too long; another one takes over")
        except redis.RedisError as error:
            self._trouble.warn("redis", "Redis failed during an evaluation: %s", error)
        except Exception:
            logger.exception("an evaluation failed")
        with self._trouble.guard("announcing an evaluation"):
            self._evaluated(written)

    def _ports(self) -> Ports:
        return Ports(
            self._ledger,
            self._broker,
            self._platform,
            Queues(self._declared, delayed_natively(self._app)),
            clock=monotonic,
            born=_BORN,
            warn=self._trouble.warn,
            inform=logger.info,
            worker=os.environ.get("DYNO", ""),
            able_since=self._made,
        )
