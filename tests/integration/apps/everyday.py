"""An app as users write them, its settings from the environment that each test gives it."""

from __future__ import annotations

import json
import os

if os.environ.get("PATCH"):
    from .patches import patch

    patch(os.environ["PATCH"])

import signal
import time
from typing import Any

from celery import Celery, Task, signals
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from kombu import Queue

import celery_middle_management  # noqa: F401
from celery_middle_management.core import deafness

from .journal import Journal

app = Celery("everyday", broker=os.environ["BROKER_URL"], backend=os.environ.get("BACKEND_URL"))
app.conf.update(
    middle_management_enabled=os.environ.get("MM_OFF") is None,
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=int(os.environ.get("PREFETCH", "1")),
    task_ignore_result=os.environ.get("BACKEND_URL") is None,
    task_default_queue=os.environ.get("TASK_QUEUE", "celery"),
    broker_transport_options=json.loads(os.environ.get("TRANSPORT_OPTIONS", "{}")),
    task_protocol=int(os.environ.get("PROTOCOL", "2")),
    task_queue_max_priority=10 if os.environ.get("PRIORITIES") else None,
)
if os.environ.get("CANCELS"):
    app.conf.worker_cancel_long_running_tasks_on_connection_loss = True
if os.environ.get("NO_HEARTBEAT"):
    # Celery 5.7's control queue is exclusive: RabbitMQ keeps it for a connection that has died.
    app.conf.update(broker_heartbeat=0, worker_enable_remote_control=False)
if os.environ.get("QUORUM"):
    app.conf.update(
        task_default_queue_type="quorum",
        task_default_exchange_type="topic",
        task_default_exchange=app.conf.task_default_queue,
        task_default_routing_key=app.conf.task_default_queue,
        # Quicker made than 28 of the other type.
        broker_native_delayed_delivery_queue_type="classic",
    )

if "QUEUE_ARGUMENTS" in os.environ:
    arguments = json.loads(os.environ["QUEUE_ARGUMENTS"])
    app.conf.task_queues = [Queue(app.conf.task_default_queue, queue_arguments=arguments)]
    app.conf.broker_native_delayed_delivery_queue_type = "classic"


deafness.AFTER = float(os.environ.get("DEAF_AFTER", deafness.AFTER))


@signals.worker_ready.connect
def hang(**_: object) -> None:
    """Keep the main thread of one dyno from all that it has to do."""
    while "HANGS" in os.environ and os.environ["HANGS"] == os.environ.get("DYNO"):
        time.sleep(1.0)


@signals.worker_ready.connect
def stop_polling(sender: Any = None, **_: object) -> None:
    """Have the loop forget its broker, as kombu before 5.7 may after a restart of Redis."""
    if "FORGETS_BROKER" in os.environ:
        transports = "kombu.transport.redis"
        sender.hub.on_tick -= {tick for tick in sender.hub.on_tick if tick.__module__ == transports}


@app.task
def noop() -> None:
    """The empty task."""


@app.task
def work(seconds: float = 0.0) -> float:
    time.sleep(seconds)
    return seconds


@app.task(acks_late=True)
def late(seconds: float = 0.0) -> None:
    time.sleep(seconds)


@app.task
def fail() -> None:
    raise RuntimeError("as it should")


@app.task(bind=True, max_retries=2, default_retry_delay=0)
def retry(self: Task, countdown: float = 0.0) -> None:
    raise self.retry(countdown=countdown)


@app.task
def ignore() -> None:
    raise Ignore


@app.task(bind=True, acks_late=True)
def reject(self: Task, requeue: bool = False) -> None:
    raise Reject("as it should", requeue=requeue and not self.request.delivery_info["redelivered"])


@app.task(time_limit=1)
def too_long() -> None:
    time.sleep(60)


@app.task(soft_time_limit=1)
def softly_too_long() -> None:
    try:
        time.sleep(60)
    except SoftTimeLimitExceeded:
        return


@app.task
def suicide() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def leave() -> None:
    raise SystemExit


@app.task
def publish(tasks: int, countdown: float = 0.0, queue: str = "celery") -> None:
    for _ in range(tasks):
        work.apply_async(countdown=countdown or None, queue=queue)


@app.task(bind=True, acks_late=True)
def hold(self: Task) -> None:
    """Run until the test lets go the dyno that runs it, and write both down."""
    _hold(self)


@app.task(bind=True)
def hold_early(self: Task) -> None:
    """As `hold`, acknowledged before it runs."""
    _hold(self)


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def hold_reborn(self: Task) -> None:
    """As `hold`, but its first attempt kills its process."""
    if not self.request.delivery_info["redelivered"]:
        os.kill(os.getpid(), signal.SIGKILL)
    _hold(self)


@app.task(bind=True)
def note(self: Task, seconds: float = 0.0, again_in: float | None = None) -> None:
    """Write down when it begins and ends; with *again_in* it is retried once, so much later."""
    _note(self, seconds)
    if again_in is not None and not self.request.retries:
        raise self.retry(countdown=again_in)


@app.task(bind=True, acks_late=True)
def note_late(self: Task, seconds: float = 0.0) -> None:
    """As `note`, acknowledged when it ends."""
    _note(self, seconds)


@app.task(bind=True, rate_limit="4/s")
def note_rarely(self: Task, seconds: float = 0.0) -> None:
    """As `note`, four times a second at most."""
    _note(self, seconds)


def _note(task: Task, seconds: float) -> None:
    journal = Journal()
    journal.begin(task.request.id, bool(task.request.delivery_info.get("redelivered")))
    time.sleep(seconds)
    journal.end(task.request.id)


def _hold(task: Task) -> None:
    journal = Journal()
    journal.begin(task.request.id)
    journal.wait_to_be_let_go()
    journal.end(task.request.id)
