"""The app of the chaos: its tasks write down when they begin and how they end."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from celery import Celery, Task, signals
from celery.exceptions import Retry

from .journal import Journal

PLAIN = "MM_OFF" in os.environ
DYNO = os.environ.get("DYNO", "")
journal = Journal(os.environ["CHAOS_JOURNAL"])
directory = Path(os.environ["CHAOS_JOURNAL"]).parent

if not PLAIN:
    import celery_middle_management  # noqa: F401
    from celery_middle_management.agent import Courier
    from celery_middle_management.ledger import Lease

app = Celery("chaos", broker=os.environ["BROKER_URL"])
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
    # After a restart of RabbitMQ this has a thread of the pool wait for an answer on the connection
    # that the main thread reads: a worker hung until RabbitMQ missed its heartbeats.
    worker_enable_prefetch_count_reduction=False,
)


def work(
    self: Task[Any, Any], seconds: float = 0.0, retries: int = 0, countdown: float = 0.0
) -> None:
    """Takes *seconds*, and then is retried until it has been *retries* times."""
    run = {"id": self.request.id, "run": self.request.retries, **_whoami()}
    journal.write("begun", **run)
    how = "aborted"
    try:
        time.sleep(seconds)
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


late: Any = app.task(bind=True, max_retries=None, name="late")(work)
#: Celery's default: acknowledged when it begins, so that it is lost when its worker is killed.
early: Any = app.task(bind=True, max_retries=None, name="early", acks_late=False)(work)


@signals.task_received.connect
def received(request: Any = None, **_: Any) -> None:
    retries = request.request_dict.get("retries") or 0
    journal.write("received", id=request.id, run=retries, **_whoami())


def _whoami() -> dict[str, Any]:
    # A dyno is a session of its own, led by its first process.
    return {"pid": os.getpid(), "sid": os.getsid(0), "dyno": DYNO}


def _announce_scaler() -> None:
    """The ledger does not tell who holds its lock; the monkey needs to know."""
    start = Courier._evaluate

    def evaluate(self: Courier, lease: Lease) -> None:
        (directory / "scaler").write_text(f"{lease.token} {os.getpid()}")
        start(self, lease)

    setattr(Courier, "_evaluate", evaluate)  # noqa: B010


if not PLAIN:
    _announce_scaler()
