"""A bound on what workers must be paid for, whoever hires them and whatever is known of the future."""

from __future__ import annotations

from heapq import nlargest

from celery_middle_management.sim.model import Model
from celery_middle_management.sim.trace import Trace


def floor(trace: Trace, model: Model, wait: float) -> float:
    """Return a time (s) that workers are paid for at least if 95 % of the tasks wait *wait* at most.

    It is the greater of two bounds.

    - The work itself, divided by the concurrency, and one boot, unless a minimum of workers was up
      before the first task.
    - A task that must start more than *wait* after another one was published cannot start together
      with it. Take a chain of tasks, each published more than *wait* after the one before, by a gap of
      *g* more. Between the starts of two successive ones, either a worker was paid all the time, for
      *g* at least, or the second one's worker was hired, and paid for its boot. So each link costs
      the lesser of the two. One task in twenty may start late: without it, the link that then leads
      past it costs no less than either of the two links that met in it. So leaving out tasks saves at
      most as many of the dearest links.
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
    boot = 0.0 if model.minimum else model.boot
    return max(boot + max(work, chain), model.minimum * trace.span)
