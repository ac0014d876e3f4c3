"""Calls that the reporter's thread has a worker's main thread make between turns of its loop."""

from __future__ import annotations

import logging
import traceback
from typing import Any

from celery_middle_management.brokers.redacting import broker_trouble
from celery_middle_management.log_throttle import LogThrottle
from celery_middle_management.working.giving_back import GivingBack
from celery_middle_management.working.intake import Intake

logger = logging.getLogger("celery_middle_management")
#: Between two portions of giving back, the main thread does its other work for this long (s).
PAUSE = 0.01


class LoopCalls:
    """The calls for one worker. A call that fails is logged and tried again."""

    def __init__(self, app: Any, giving_back: GivingBack, trouble: LogThrottle) -> None:
        self._app = app
        self._giving_back = giving_back
        self._trouble = trouble
        self._consumer: Any = None
        self._intake: Any = None
        self._gives_back = False
        self._restores = False

    def start(self, consumer: Any, intake: Intake) -> None:
        """Begin with a new connection: the calls for the last one's loop may be lost."""
        self._consumer = consumer
        self._intake = intake
        self._gives_back = False

    def apply_intake_soon(self) -> None:
        """Have the main thread :meth:`apply_intake`, at once if it waits for its broker."""
        self._consumer.call_soon(self.apply_intake)
        self._intake.waker.wake()

    def give_back_soon(self) -> None:
        """Have the main thread give scheduled tasks back, until few enough are left."""
        if not self._gives_back:
            self._gives_back = True
            self._consumer.call_soon(self._give_back)

    def restore_soon(self) -> None:
        """Have kombu give back what dead workers held, if there is no event loop for that.

        With Redis, kombu does it by a timer of its event loop. Under gevent and eventlet there is
        none, and an idle worker would never do it.
        """
        if self._consumer.hub is None and not self._restores:
            self._restores = True
            self._consumer.call_soon(self._restore)

    def apply_intake(self) -> None:
        """Stop or resume consuming, or change the prefetch count. For the main thread."""
        with self._trouble.guard("stopping or resuming consuming"):
            try:
                self._intake.apply()
            except self._consumer.connection_errors + self._consumer.channel_errors as error:
                self._broker_failed("consume", error)

    def _give_back(self) -> None:
        more = False
        try:
            more = self._intake.stopped and self._giving_back.give_back_portion(self._consumer)
        except self._consumer.connection_errors + self._consumer.channel_errors as error:
            self._broker_failed("return", error)
        except Exception:  # noqa: BLE001 - a timer must go on
            # As text: given the error itself, a handler could show its frames, with a password.
            logger.error("a scheduled task could not be given back:\n%s", traceback.format_exc())
        finally:
            # Without an event loop, a call that schedules itself again would run in this same turn.
            self._gives_back = more and self._consumer.hub is not None
        if self._gives_back:
            self._consumer.timer.call_after(PAUSE, self._give_back)

    def _restore(self) -> None:
        self._restores = False
        with self._trouble.guard("having kombu give messages back"):
            connection = self._consumer.connection
            cycle = getattr(connection and connection.transport, "cycle", None)
            restore = getattr(cycle, "maybe_restore_messages", None)
            if restore is None:
                return
            try:
                restore()
            except connection.connection_errors + connection.channel_errors as error:
                self._broker_failed("restore", error)

    def _broker_failed(self, kind: str, error: BaseException) -> None:
        said = broker_trouble(self._app, error)
        self._trouble.warn(kind, "the broker failed, will be tried again: %s", said)
