"""Prepares a Celery worker of a managed app, and makes its agent."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery import Celery

from celery_middle_management.app_services import AppServices
from celery_middle_management.broker_reach import BrokerReach
from celery_middle_management.counting.tally import Tally
from celery_middle_management.late_import import no_fork_meanwhile
from celery_middle_management.reporting.reporter import Reporter
from celery_middle_management.settings.model import Settings
from celery_middle_management.working.bootstep import WorkerStep

if TYPE_CHECKING:
    from celery_middle_management.working.worker import WorkerAgent


class ManagedWorker:
    """One app's worker in this process, if the process is a worker."""

    def __init__(  # noqa: PLR0917
        self,
        app: Celery,
        settings: Settings,
        tally: Tally,
        services: AppServices,
        reach: BrokerReach,
        reporter: Callable[[], Reporter],
    ) -> None:
        self._app = app
        self._settings = settings
        self._tally = tally
        self._services = services
        self._reach = reach
        self._make_reporter = reporter
        self._agent: WorkerAgent | None = None

    def step(self) -> type[WorkerStep]:
        """Make the bootstep by which a worker's consumer starts the agent."""
        settings = self._settings
        attributes = {
            "make_agent": self.make_agent,
            "limits": not (settings.dry_run or settings.inactive),
            "at_work": self._tally.at_work,
        }
        return type("MiddleManagement", (WorkerStep,), attributes)

    def make_agent(self, consumer: Any) -> WorkerAgent | None:
        """Make the agent of *consumer*'s worker; None if no worker could help the app."""
        if not self._reach.is_given:
            return None
        from celery_middle_management.core.traits import DOTTED
        from celery_middle_management.platforms.base import Identity
        from celery_middle_management.working.worker import WorkerAgent

        if self._settings.inactive:
            identity, traits = Identity(None, consumer.hostname), DOTTED
        else:
            kind = self._services.platform.kind
            identity, traits = kind.identity(os.environ, consumer.hostname), kind.traits
        agent = WorkerAgent(self._app, identity, self._settings, self._make_reporter(), traits)
        agent.keep_from_purging(consumer.controller)
        self._agent = agent
        return agent

    def init(self) -> None:
        """Prepare this process, a worker that is about to fork its children."""
        # If an import fails, the children's records must still have a pipe to go to.
        self._tally.share_with_children()
        # The worker has no thread yet that a fork or a patch could interrupt.
        with no_fork_meanwhile():
            import celery_middle_management.working.intake
            import celery_middle_management.working.worker  # noqa: F401
        self._services.late_import.finish()

    def shutdown(self) -> None:
        """Close the agent of a worker that has finished."""
        if self._agent is not None:
            self._agent.close()

    def after_fork(self) -> None:
        """Drop the parent's agent, in a fresh child."""
        self._agent = None
