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

#: A policy that has not let go of its workers this long (s) after the last task never will.
_GIVES_UP = 86_400.0

#: Takes the part of the work that is done, from 0 to 1.
Progress = Callable[[float], None]


def simulate(
    trace: Trace, policy: Policy, model: Model, progress: Progress = lambda _: None
) -> Outcome:
    """Return what *policy* would have made of a trace.

    The simulation ends when every task is finished and there are no more workers than at least.
    """
    cluster = Cluster(trace, model, managed=policy.managed)
    scaler = policy.scaler(cluster)
    timeline = Timeline(cluster)
    while not _is_over(cluster, scaler):
        next_at = scaler.next_at
        passed = cluster.advance(min(next_at, timeline.next_at))
        if timeline.look():
            progress(cluster.finished / cluster.tasks)
        if cluster.now >= next_at or not passed:
            scaler.act()
    progress(1.0)
    paid = cluster.paid
    return Outcome(
        policy=policy.name,
        paid=paid,
        waits=waits_of(cluster.waits),
        killed=cluster.killed,
        hires=cluster.hires,
        calls=scaler.calls,
        efficiency=trace.work / (model.concurrency * paid) if paid else 0.0,
        peak_workers=cluster.peak,
        timeline=tuple(timeline.moments),
        longest_waits=timeline.longest_waits(trace.published),
    )


def _is_over(cluster: Cluster, scaler: Scaler) -> bool:
    """Return whether every task is finished and no worker is left that will ever go."""
    if cluster.finished < cluster.tasks:
        return False
    too_many = len(cluster.workers) > scaler.least
    return not too_many or cluster.now > cluster.finished_at + _GIVES_UP
