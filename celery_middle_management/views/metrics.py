"""The status document as metrics: names, units and labels, and how each is read.

docs/metrics.md describes every metric. The names of labels and the units are those of
danihodovic/celery-exporter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from celery_middle_management.version import __version__
from celery_middle_management.views import readings
from celery_middle_management.views.readings import Document, Labels, Reading, Timed, of_pools


class Family(NamedTuple):
    """A metric: its values differ by labels only."""

    #: Without the suffix that its kind adds: ``_total``, or ``_count`` and ``_sum``.
    name: str
    kind: Literal["gauge", "counter", "summary"]
    help: str
    labels: Labels
    read: Callable[[Document], Iterable[Reading]]


class Measured(NamedTuple):
    """A metric and what it is now."""

    family: Family
    readings: tuple[Reading, ...]


def measured(document: Document | None) -> list[Measured]:
    """Return every metric, by the status *document*.

    Without a document, because the ledger could not be read, they are ``celery_mm_up``, which is 0,
    and ``celery_mm_info``.
    """
    told = [
        Measured(UP, (Reading((), 0.0 if document is None else 1.0),)),
        Measured(INFO, (Reading((__version__,), 1.0),)),
    ]
    if document is not None:
        told += [Measured(each, tuple(each.read(document))) for each in FAMILIES]
    return told


def _gauge(name: str, text: str, read: Callable[[Document], float | None]) -> Family:
    """A gauge of each pool."""
    return Family(f"celery_mm_{name}", "gauge", text, ("pool",), of_pools(read))


def _counter(name: str, text: str, total: str) -> Family:
    """A counter of each pool, one of the document's totals."""
    return Family(
        f"celery_mm_{name}", "counter", text, ("pool",), of_pools(lambda p: p["totals"][total])
    )


def _summary(name: str, text: str, tasks: str, seconds: str) -> Family:
    """A summary of each pool, from two of the document's totals."""

    def read(pool: Document) -> Timed:
        return Timed(pool["totals"][tasks], pool["totals"][seconds])

    return Family(f"celery_mm_{name}_seconds", "summary", text, ("pool",), of_pools(read))


UP = Family("celery_mm_up", "gauge", "1 if the ledger could be read, 0 if not", (), lambda _: ())
INFO = Family(
    "celery_mm_info",
    "gauge",
    "The release of Middle Management, always 1",
    ("version",),
    lambda _: (),
)
#: The metrics that are read from the document.
FAMILIES = (
    _gauge(
        "workers",
        "Workers that the platform was told to run",
        lambda pool: pool["workers"]["current"],
    ),
    _gauge("workers_needed", "Workers needed now", lambda pool: pool["workers"]["needed"]),
    _gauge("workers_min", "The setting min_workers", lambda pool: pool["workers"]["min"]),
    _gauge("workers_max", "The setting max_workers", lambda pool: pool["workers"]["max"]),
    _gauge("workers_live", "Workers that report", lambda pool: len(pool["workers"]["live"])),
    _gauge(
        "workers_draining",
        "Workers that take no more tasks and will be fired",
        lambda pool: len(pool["workers"]["draining"]),
    ),
    _gauge(
        "workers_unheard",
        "Workers that are up, and have not reported yet",
        lambda pool: len(pool["workers"]["unheard"]),
    ),
    _gauge(
        "workers_silent",
        "Workers that have stopped reporting",
        lambda pool: len(pool["workers"]["silent"]),
    ),
    _gauge(
        "workers_deaf",
        "Workers that take no task although tasks wait",
        lambda pool: len(pool["workers"]["deaf"]),
    ),
    _counter("workers_hired", "Workers hired", "hired"),
    _counter("workers_fired", "Workers fired", "fired"),
    _gauge(
        "boot_seconds", "Time from a hire to the first report", lambda pool: pool["policy"]["boot"]
    ),
    _gauge("tasks_waiting", "Tasks that wait for a worker", lambda pool: pool["tasks"]["waiting"]),
    _gauge("tasks_running", "Tasks that run", lambda pool: pool["tasks"]["running"]),
    _gauge("tasks_scheduled", "Tasks that are due later", lambda pool: pool["tasks"]["scheduled"]),
    _gauge(
        "tasks_reserved",
        "Waiting tasks that workers hold",
        lambda pool: pool["tasks"]["reserved"],
    ),
    _counter("tasks_published", "Tasks published or fallen due", "published"),
    _counter("tasks_started", "Tasks started", "started"),
    _counter("tasks_finished", "Tasks finished", "finished"),
    _summary("task_wait", "Time from when a task could start until it did", "started", "waits"),
    _summary("task_runtime", "Time that a task ran", "finished", "runtime"),
    _gauge(
        "last_count_timestamp_seconds",
        "When tasks were last counted",
        lambda pool: readings.unix_time(pool["tasks"]["counted_at"]),
    ),
    Family(
        "celery_mm_queue_length",
        "gauge",
        "Messages in the queue that no worker has reserved",
        ("pool", "queue_name"),
        readings.queue_lengths,
    ),
    Family(
        "celery_mm_worker_up",
        "gauge",
        "1 if the worker reports, 0 if it is silent or has not reported yet",
        ("pool", "hostname"),
        readings.workers_up,
    ),
    Family(
        "celery_mm_worker_drain_seconds",
        "gauge",
        "For how long the worker has been draining",
        ("pool", "hostname"),
        readings.drains,
    ),
    Family(
        "celery_mm_longest_task_seconds",
        "gauge",
        "For how long the pool's longest task has been running",
        ("pool", "hostname", "name"),
        readings.longest_task,
    ),
    Family(
        "celery_mm_cost_dollars",
        "gauge",
        "What the workers cost in the period",
        ("pool", "period"),
        readings.costs,
    ),
    Family(
        "celery_mm_worker_time_seconds",
        "gauge",
        "For how long workers ran in the period, added up",
        ("pool", "period"),
        readings.worker_times,
    ),
    Family(
        "celery_mm_trouble", "gauge", "Things that are wrong", ("kind", "pool"), readings.trouble
    ),
    Family("celery_mm_paused", "gauge", "1 if a person has paused it", ("what",), readings.paused),
    Family(
        "celery_mm_dry_run",
        "gauge",
        "1 if decisions are not carried out",
        (),
        lambda document: [Reading((), float(document["dry_run"]))],
    ),
    Family(
        "celery_mm_last_evaluation_timestamp_seconds",
        "gauge",
        "When the pools were last evaluated",
        (),
        readings.last_evaluation,
    ),
)
