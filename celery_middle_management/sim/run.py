"""Runs a policy over a trace, from the first task until the last worker has gone."""

from __future__ import annotations

from collections.abc import Callable

from celery_middle_management.sim.cluster import Cluster
from celery_middle_management.sim.model import Model
from celery_middle_management.sim.outcome import Outcome, waits_of
from celery_middle_management.sim.policies import Policy
from celery_middle_management.sim.scaler import Scaler
from celery_middle_management.sim.timeline import Timeline
from celery_middle_management.sim.trace import Trace

#: What has not happened in this time (s), or in three times that of the longest task if that is
#: longer, after the last task was published or ended, never will.
_GIVES_UP = 86_400.0
#: A policy that has killed so many runs for each task, and this many more, will not get done.
_KILLS, _MORE_KILLS = 20, 1000

#: Takes the part of the work that is done, from 0 to 1.
Progress = Callable[[float], None]


def simulate(
    trace: Trace, policy: Policy, model: Model, progress: Progress = lambda _: None
) -> Outcome:
    """Return what *policy* would have made of a trace.

    The simulation ends when every task is finished and there are no more workers than at least. It
    also ends if there are, or if tasks are left, and nothing has come of it for a day, or more runs
    have been killed than a policy may have any hope of making up for. Waits are those until then.
    """
    cluster = Cluster(trace, model, managed=policy.managed)
    scaler, timeline = policy.scaler(cluster), Timeline(cluster)
    least = len(cluster.workers)
    paid_for_tasks = _play(cluster, scaler, timeline, progress)
    workers, paid = cluster.workers.values(), _paid(cluster)
    cluster.queues.break_off(cluster.now, [task for w in workers for task in w.local])
    return Outcome(
        policy=policy.name,
        paid=paid,
        waits=waits_of(cluster.queues.waits[: cluster.queues.arrived]),
        killed=cluster.killed,
        hires=cluster.hires,
        calls=scaler.calls,
        efficiency=cluster.runtime / (model.concurrency * paid) if paid else 0.0,
        peak_workers=cluster.peak,
        unfinished=trace.tasks - cluster.finished,
        least=least,
        tail=0.0 if paid_for_tasks is None else paid - paid_for_tasks,
        timeline=tuple(timeline.moments),
        longest_waits=timeline.longest_waits(trace.published),
    )


def _play(cluster: Cluster, scaler: Scaler, timeline: Timeline, progress: Progress) -> float | None:
    """Let time pass until it is over; return what was paid (s) when the last task had ended."""
    queues, model = cluster.queues, cluster.model
    slow = max(queues.runtimes, default=0.0) + model.boot + model.call_interval
    patience = max(_GIVES_UP, 3 * slow)
    paid_for_tasks = None
    while not _is_over(cluster, scaler, patience):
        next_at = scaler.next_at
        passed = cluster.advance(min(next_at, timeline.next_at))
        if paid_for_tasks is None and cluster.finished == queues.tasks:
            paid_for_tasks = _paid(cluster)
        if timeline.look():
            progress(cluster.finished / queues.tasks)
        if cluster.now >= next_at or not passed:
            scaler.act()
    progress(1.0)
    return paid_for_tasks


def _paid(cluster: Cluster) -> float:
    """Return the time (s) for which workers have been paid so far."""
    return cluster.paid + sum(cluster.now - w.hired_at for w in cluster.workers.values())


def _is_over(cluster: Cluster, scaler: Scaler, patience: float) -> bool:
    """Return whether nothing is left to happen, or nothing has come of it for *patience* (s)."""
    queues = cluster.queues
    if cluster.now > max(queues.span, cluster.finished_at) + patience:
        return True
    if cluster.killed > _KILLS * queues.tasks + _MORE_KILLS:
        return True
    return cluster.finished == queues.tasks and len(cluster.workers) <= scaler.least
