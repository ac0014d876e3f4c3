"""The app of a chaos run: its tasks record when they begin and how they end.

If the run has several apps, each of its processes, publishers and workers, has three more:

- ``twin``: made by the same factory, on the same broker, for the same workers;
- ``second``: managed as well, with its own broker and workers;
- ``foreign``: not managed, with that other broker, and a queue of the same name as ours.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

from celery import Celery, Task, signals
from celery.exceptions import Retry

from .journal import Journal
from .lines import own_url

PLAIN = "MM_OFF" in os.environ
LAPTOP = "CHAOS_LAPTOP" in os.environ
SEVERAL = "CHAOS_SECOND_URL" in os.environ and not PLAIN
#: The Heroku app of ``second``.
SECOND = "secondapp"
DYNO = os.environ.get("DYNO", "")
journal = Journal(os.environ["CHAOS_JOURNAL"])
directory = Path(os.environ["CHAOS_JOURNAL"]).parent

if not PLAIN:
    if "CHAOS_LINES" in os.environ:
        own = own_url(os.environ["CHAOS_LINES"], os.getpid())
        os.environ["MIDDLE_MANAGEMENT_REDIS_URL"] = own

    import celery_middle_management  # noqa: F401
    from celery_middle_management.core import deafness
    from celery_middle_management.ledger.model import Lease
    from celery_middle_management.reporting.scaler import Scaler


def make_app() -> Celery:
    app = Celery("chaos", broker=os.environ["CHAOS_BROKER"])
    app.conf.update(
        middle_management_enabled=not PLAIN,
        broker_connection_retry_on_startup=True,
        broker_transport_options=json.loads(os.environ["CHAOS_TRANSPORT_OPTIONS"]),
        task_acks_late=True,
        task_ignore_result=True,
        # A killed worker's tasks come back.
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        # Celery would otherwise kill tasks by itself after the broker was restarted.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # After a restart of RabbitMQ this makes a thread of the pool wait for an answer on the
        # connection that the main thread reads: a worker hung until RabbitMQ missed its heartbeats.
        worker_enable_prefetch_count_reduction=False,
    )
    if "CHAOS_BROKER_LINES" in os.environ:
        # A task that publishes would wait for an answer for ever if its connection died.
        app.conf.broker_write_url = os.environ["CHAOS_BROKER"]
        app.conf.broker_read_url = own_url(os.environ["CHAOS_BROKER_LINES"], os.getpid())
    return app


def make_second() -> Celery:
    app = Celery("second", broker=os.environ["CHAOS_ELSEWHERE"], set_as_current=False)
    app.conf.update(
        middle_management_enabled=True,
        middle_management_heroku_app=SECOND,
        middle_management_heroku_api_url=os.environ["CHAOS_SECOND_URL"],
        middle_management_min_workers=0,
        middle_management_pools={"worker": {"queues": ["second"], "max_workers": 6}},
        task_ignore_result=True,
    )
    return app


def work(
    self: Task[Any, Any],
    seconds: float = 0.0,
    retries: int = 0,
    countdown: float = 0.0,
    spawns: str = "",
) -> None:
    """Take *seconds*, and then retry until it has been retried *retries* times.

    With *spawns*, publish a task of another app of this process, if there are several.
    """
    run = {"id": self.request.id, "run": self.request.retries, **_whoami()}
    journal.write("begun", **run)
    how = "aborted"
    try:
        time.sleep(seconds)
        if spawns and SEVERAL:
            send_elsewhere(spawns)
        if self.request.retries < retries:
            raise self.retry(countdown=countdown)
        how = "done"
    except Retry:
        how = "retry"
        raise
    except BaseException as error:
        how = f"aborted: {type(error).__name__}"
        raise
    finally:
        journal.write("ended", how=how, **run)


def register(app: Celery) -> tuple[Any, Any]:
    """Register two tasks: acknowledged at the end, and, Celery's default, when it begins.

    The second sort is lost when its worker is killed.
    """
    late = app.task(bind=True, max_retries=None, name="late")(work)
    early = app.task(bind=True, max_retries=None, name="early", acks_late=False)(work)
    return late, early


app = make_app()
late, early = register(app)
if SEVERAL:
    twin_late, twin_early = register(make_app())
    second = make_second()
    foreign = Celery("foreign", broker=os.environ["CHAOS_ELSEWHERE"], set_as_current=False)
    app.set_current()


def send_elsewhere(name: str) -> None:
    """Publish one task of ``second`` or of ``foreign``, which no worker of ours ever sees."""
    if name == "second":
        second.send_task("late", queue="second")
    else:
        foreign.send_task("late", queue=os.environ["CHAOS_QUEUES"].split()[0])


@signals.task_received.connect
def received(request: Any = None, **_: Any) -> None:
    retries = request.request_dict.get("retries") or 0
    journal.write("received", id=request.id, run=retries, **_whoami())


def _whoami() -> dict[str, Any]:
    # A dyno is a session of its own, led by its first process.
    return {"pid": os.getpid(), "sid": os.getsid(0), "dyno": DYNO}


def _announce_scaler() -> None:
    """Record which process holds the lock: the monkey needs it, and the ledger does not say."""
    evaluate = Scaler.evaluate

    def announced(self: Scaler, lease: Lease) -> None:
        if LAPTOP:
            _write_failure("a process off the platform evaluates", None, "")
        heroku = self._settings.heroku
        if heroku and heroku.app != SECOND:
            (directory / "scaler").write_text(f"{lease.token} {os.getpid()}")
        evaluate(self, lease)

    setattr(Scaler, "evaluate", announced)  # noqa: B010


class Failures(logging.Handler):
    """Records every error that the package has caught and that should never have happened."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        _write_failure(record.getMessage(), error, self.format(record))


def _write_failure(message: str, error: BaseException | None, trace: str) -> None:
    told = f"{type(error).__name__}: {error}" if error else ""
    journal.write("failure", where=DYNO or "a publisher", message=message, error=told, trace=trace)


def _write_down_failures() -> None:
    logging.getLogger("celery_middle_management").addHandler(Failures(logging.ERROR))
    tell = threading.excepthook

    def told(args: threading.ExceptHookArgs) -> None:
        if args.thread and args.thread.name.startswith("mm-"):
            _write_failure(f"the thread {args.thread.name} ended", args.exc_value, "")
        tell(args)

    threading.excepthook = told


if not PLAIN:
    deafness.AFTER = 8.0  # s, instead of 60
    _announce_scaler()
    _write_down_failures()
