"""A bound on what workers must be paid for, whatever is known of the future."""

from __future__ import annotations

from heapq import nlargest

from celery_middle_management.sim.model import Model
from celery_middle_management.sim.trace import Trace


def floor(trace: Trace, model: Model, wait: float, *, least: int = 0) -> float:
    """Return for how long (s) workers must be paid if 95 % of the tasks wait for *wait* at most.

    *least* workers were up before the first task, and stay. The result is one boot, unless some
    were up, and the greater of two bounds:

    - The work, divided by the concurrency.
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
    work = trace.work / model.concurrency
    boot = 0.0 if least else model.boot
    return max(boot + max(work, chain), least * trace.span)
