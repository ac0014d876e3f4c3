"""The status document as metrics: names, units and labels, and how each is read.

docs/metrics.md describes every metric. The names of labels and the units are those of
danihodovic/celery-exporter. The sets of label values are bounded: by the pools, the queues and the
workers that there are, the tasks that run, and the kinds of trouble that are known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

from celery_middle_management.version import __version__

Document = Mapping[str, Any]
Labels = tuple[str, ...]
#: A label value has at most this many characters.
LONGEST_LABEL = 100
#: The kinds of trouble that have a label value of their own; all others are "other".
KINDS = frozenset(
    ("unattended", "evaluation", "not-hired", "unconsumed", "unserved", "count", "platform")
) | {"refused", "unheard", "silent", "deaf", "wrong", "lifetime", "full"}


class Timed(NamedTuple):
    """The value of a summary: how many tasks, and how long they took in all (s)."""

    tasks: int
    seconds: float


class Reading(NamedTuple):
    """One value of a metric, with the values of its labels in the order of their names."""

    labels: Labels
    value: float | Timed


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


def _of_pools(
    read: Callable[[Document], float | Timed | None],
) -> Callable[[Document], Iterator[Reading]]:
    """Read a value of each pool, which None leaves out because it is not known."""

    def readings(document: Document) -> Iterator[Reading]:
        for pool in document["pools"]:
            value = read(pool)
            if value is not None:
                yield Reading((label(pool["name"]),), value)

    return readings


def label(text: str | None) -> str:
    """Return *text* as a label value that can be encoded, and is not too long; empty for None."""
    return (text or "")[:LONGEST_LABEL].encode("utf-8", "replace").decode()


def _seconds(iso: str | None) -> float | None:
    return None if iso is None else datetime.fromisoformat(iso).timestamp()


def _last_evaluation(document: Document) -> Iterator[Reading]:
    at = _seconds(document["evaluated_at"])
    if at is not None:
        yield Reading((), at)


def _paused(document: Document) -> Iterator[Reading]:
    pause = document["pause"] or {"hires": False, "fires": False}
    for what in ("hires", "fires"):
        yield Reading((what,), float(pause[what]))


def _trouble(document: Document) -> Iterator[Reading]:
    found = Counter(
        (trouble["kind"] if trouble["kind"] in KINDS else "other", label(trouble["pool"]))
        for trouble in document["trouble"]
    )
    yield from (Reading(labels, float(n)) for labels, n in found.items())


def _queue_lengths(document: Document) -> Iterator[Reading]:
    # Names that are equal once they are shortened share one value.
    lengths: Counter[Labels] = Counter()
    for queue in document["queues"]:
        lengths[label(queue["pool"]), label(queue["name"])] += queue["ready"]
    yield from (Reading(labels, float(n)) for labels, n in lengths.items())


def _workers_up(document: Document) -> Iterator[Reading]:
    for pool in document["pools"]:
        workers = pool["workers"]
        down = [worker["name"] for kind in ("silent", "unheard") for worker in workers[kind]]
        up = dict.fromkeys(map(label, down), 0.0) | dict.fromkeys(map(label, workers["live"]), 1.0)
        for name, value in up.items():
            yield Reading((label(pool["name"]), name), value)


def _drains(document: Document) -> Iterator[Reading]:
    now = datetime.fromisoformat(document["at"])
    for pool in document["pools"]:
        for drain in pool["workers"]["drains"]:
            if drain["since"] is not None:
                lasts = now - datetime.fromisoformat(drain["since"])
                yield Reading((label(pool["name"]), label(drain["name"])), lasts.total_seconds())


def _longest(document: Document) -> Iterator[Reading]:
    for pool in document["pools"]:
        run = pool["workers"]["longest"]
        if run is not None:
            labels = (pool["name"], run["worker"], run["name"])
            yield Reading(tuple(map(label, labels)), run["for"])


def _gauge(name: str, text: str, read: Callable[[Document], float | None]) -> Family:
    """A gauge of each pool."""
    return Family(f"celery_mm_{name}", "gauge", text, ("pool",), _of_pools(read))


def _counter(name: str, text: str, total: str) -> Family:
    """A counter of each pool, one of the document's totals."""
    return Family(
        f"celery_mm_{name}", "counter", text, ("pool",), _of_pools(lambda p: p["totals"][total])
    )


def _summary(name: str, text: str, tasks: str, seconds: str) -> Family:
    """A summary of each pool, from two of the document's totals."""

    def read(pool: Document) -> Timed:
        return Timed(pool["totals"][tasks], pool["totals"][seconds])

    return Family(f"celery_mm_{name}_seconds", "summary", text, ("pool",), _of_pools(read))


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
        lambda pool: _seconds(pool["tasks"]["counted_at"]),
    ),
    Family(
        "celery_mm_queue_length",
        "gauge",
        "Messages in the queue that no worker has reserved",
        ("pool", "queue_name"),
        _queue_lengths,
    ),
    Family(
        "celery_mm_worker_up",
        "gauge",
        "1 if the worker reports, 0 if it is silent or has not reported yet",
        ("pool", "hostname"),
        _workers_up,
    ),
    Family(
        "celery_mm_worker_drain_seconds",
        "gauge",
        "For how long the worker has been draining",
        ("pool", "hostname"),
        _drains,
    ),
    Family(
        "celery_mm_longest_task_seconds",
        "gauge",
        "For how long the pool's longest task has been running",
        ("pool", "hostname", "name"),
        _longest,
    ),
    Family("celery_mm_trouble", "gauge", "Things that are wrong", ("kind", "pool"), _trouble),
    Family("celery_mm_paused", "gauge", "1 if a person has paused it", ("what",), _paused),
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
        _last_evaluation,
    ),
)
