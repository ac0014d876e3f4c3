"""What each metric is read from in the status document, and its labels.

The sets of label values are bounded: by the pools, the queues and the workers that there are, the
tasks that run, and the kinds of trouble that are known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

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


def of_pools(
    read: Callable[[Document], float | Timed | None],
) -> Callable[[Document], Iterator[Reading]]:
    """Read a value of each pool, which None leaves out because it is not known."""

    def each(document: Document) -> Iterator[Reading]:
        for pool in document["pools"]:
            value = read(pool)
            if value is not None:
                yield Reading((label(pool["name"]),), value)

    return each


def label(text: str | None) -> str:
    """Return *text* as a label value that can be encoded, and is not too long; empty for None."""
    return (text or "")[:LONGEST_LABEL].encode("utf-8", "replace").decode()


def unix_time(iso: str | None) -> float | None:
    """A time of the document as Unix time (s)."""
    return None if iso is None else datetime.fromisoformat(iso).timestamp()


def last_evaluation(document: Document) -> Iterator[Reading]:
    """When the pools were last evaluated."""
    at = unix_time(document["evaluated_at"])
    if at is not None:
        yield Reading((), at)


def paused(document: Document) -> Iterator[Reading]:
    """The switches that pause hires and fires."""
    pause = document["pause"] or {"hires": False, "fires": False}
    for what in ("hires", "fires"):
        yield Reading((what,), float(pause[what]))


def trouble(document: Document) -> Iterator[Reading]:
    """How many things are wrong, by kind and pool."""
    found = Counter(
        (entry["kind"] if entry["kind"] in KINDS else "other", label(entry["pool"]))
        for entry in document["trouble"]
    )
    yield from (Reading(labels, float(n)) for labels, n in found.items())


def queue_lengths(document: Document) -> Iterator[Reading]:
    """How many messages wait in each queue."""
    # Names that are equal once they are shortened share one value.
    lengths: Counter[Labels] = Counter()
    for queue in document["queues"]:
        lengths[label(queue["pool"]), label(queue["name"])] += queue["ready"]
    yield from (Reading(labels, float(n)) for labels, n in lengths.items())


def workers_up(document: Document) -> Iterator[Reading]:
    """The workers that report, and those that do not."""
    for pool in document["pools"]:
        workers = pool["workers"]
        down = [worker["name"] for kind in ("silent", "unheard") for worker in workers[kind]]
        up = dict.fromkeys(map(label, down), 0.0) | dict.fromkeys(map(label, workers["live"]), 1.0)
        for name, value in up.items():
            yield Reading((label(pool["name"]), name), value)


def drains(document: Document) -> Iterator[Reading]:
    """For how long each draining worker has been draining."""
    now = datetime.fromisoformat(document["at"])
    for pool in document["pools"]:
        for drain in pool["workers"]["drains"]:
            if drain["since"] is not None:
                lasts = now - datetime.fromisoformat(drain["since"])
                yield Reading((label(pool["name"]), label(drain["name"])), lasts.total_seconds())


def longest_task(document: Document) -> Iterator[Reading]:
    """For how long each pool's longest task has been running."""
    for pool in document["pools"]:
        run = pool["workers"]["longest"]
        if run is not None:
            labels = (pool["name"], run["worker"], run["name"])
            yield Reading(tuple(map(label, labels)), run["for"])


def costs(document: Document) -> Iterator[Reading]:
    """The cost of each pool in each period, where it is known."""
    for pool, period, spent in _spent(document):
        if spent["dollars"] is not None:
            yield Reading((pool, period), spent["dollars"])


def worker_times(document: Document) -> Iterator[Reading]:
    """For how long each pool's workers ran in each period."""
    for pool, period, spent in _spent(document):
        yield Reading((pool, period), spent["hours"] * 3600)


def _spent(document: Document) -> Iterator[tuple[str, str, Document]]:
    """The cost of each pool in each period; nothing if the document has none."""
    for pool in (document.get("money") or {"pools": ()})["pools"]:
        for period in ("today", "month", "always_on"):
            yield label(pool["name"]), period, pool[period]
