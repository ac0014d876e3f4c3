"""A simulator: what each policy would have cost, on a trace of tasks.

    from celery_middle_management.sim import Model, policy_named, read_trace, simulate

    trace = read_trace("tasks.csv")
    outcome = simulate(trace, policy_named("jobs_per_worker:10"), Model(maximum=20))
    print(outcome.paid_hours, outcome.waits.p95)

``docs/simulate.md`` says what is modelled.
"""

from celery_middle_management.sim.model import Model
from celery_middle_management.sim.outcome import Outcome, Waits
from celery_middle_management.sim.policies import Policy, PolicyError, policy_named
from celery_middle_management.sim.run import simulate
from celery_middle_management.sim.runtimes import RunTimes
from celery_middle_management.sim.trace import Trace, TraceError, read_trace

__all__ = [
    "Model",
    "Outcome",
    "Policy",
    "PolicyError",
    "RunTimes",
    "Trace",
    "TraceError",
    "Waits",
    "policy_named",
    "read_trace",
    "simulate",
]
