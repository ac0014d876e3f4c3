"""The consumer step of a managed app's workers. What it starts is imported only in a worker."""

from __future__ import annotations

import logging
from collections.abc import Callable, Set
from typing import Any

from celery import bootsteps

from celery_middle_management.log_throttle import LogThrottle

logger = logging.getLogger("celery_middle_management")


class WorkerStep(bootsteps.StartStopStep):
    """Starts the agent when the consumer has been made, before it begins to consume."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    #: Makes the worker's agent, or returns None if the package must not act in this worker.
    make_agent: Callable[[Any], Any]
    #: Whether the worker may be limited to taking less than Celery would.
    limits = True
    #: The processes of a prefork pool that last reported being busy.
    at_work: Set[int] = frozenset()

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        self._trouble = LogThrottle(logger)
        self._agent: Any = None
        with self._trouble.guard("making a worker's agent"):
            from celery_middle_management.working.intake import Intake

            kind = type(self)
            self._intake = Intake(consumer, limits=kind.limits, at_work=kind.at_work)
            self._agent = kind.make_agent(consumer)

    def start(self, consumer: Any) -> None:
        if self._agent is not None:
            with self._trouble.guard("starting a worker's agent"):
                self._intake.start()
                self._agent.start(consumer, self._intake)

    def stop(self, consumer: Any) -> None:
        if self._agent is not None:
            with self._trouble.guard("stopping a worker's agent"):
                self._intake.stop()
