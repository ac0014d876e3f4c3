"""A bound on what workers must be paid for, whatever is known of the future."""

from __future__ import annotations

from dataclasses import replace
from heapq import nlargest
from math import nan

from celery_middle_management.sim.model import Model
from celery_middle_management.sim.outcome import Outcome
from celery_middle_management.sim.trace import Trace


def floor_of(trace: Trace, model: Model, outcome: Outcome) -> float:
    """Return for how long (s) any policy must pay workers if its p95 wait is that of an outcome.

    If the outcome's policy keeps fewer workers than the minimum of the model, others may, too. The
    bound is not a number (nan) if tasks are left: nothing is known of their waits.
    """
    if outcome.unfinished:
        return nan
    kept = replace(model, minimum=min(outcome.least, model.minimum))
    return floor(trace, kept, outcome.waits.p95)


def floor(trace: Trace, model: Model, wait: float) -> float:
    """Return for how long (s) workers must be paid if 95 % of the tasks wait for *wait* at most.

    Workers that are up before the first task need not have booted. The result is the greatest of
    three bounds:

    - The work, divided by the concurrency.
    - The minimum of workers, as long as the trace.
    - Take a chain of tasks, each published a time *g* later than *wait* after the one before.
      Between the starts of two successive ones, either a worker was paid all the time, which is *g*
      or more, or the second one's worker was hired, and paid for its boot. So a link costs the
      lesser of the two. One task in twenty may start late. Without it, the link that leads past it
      costs no less than either of the two that met in it. So leaving out tasks saves at most as
      many of the dearest links.
    """
    if not trace.tasks:
        return 0.0
    links = []
    last = trace.published[0]
    for at in trace.published:
        if at > last + wait:
            links.append(min(at - last - wait, model.boot))
            last = at
    late = trace.tasks // 20
    chain = sum(links) - sum(nlargest(late, links))
    return max(trace.work / model.concurrency, model.minimum * trace.span, chain)
