"""The policy of the longest wait: 95 % of the tasks start within a time, for the least money.

- A slot works off 1 + T / m tasks within a time T, if they take m on average. So many tasks for
  each slot are what the workers are there for; T is a part of the allowed wait. Workers that boot
  count from when they will be up. More are hired if there are more tasks than that.
- While there is no worker, and one will do, it is hired as late as possible: a task that comes
  alone waits nearly as long as it may, and others that come meanwhile share its worker. But that
  is not put off if it might not be possible later: as by a process that ends, or has just begun.
- A worker that is not needed goes, unless the pool would soon hire it again. One that goes costs a
  boot. One that stays is idle until that hire, and once more for as long as a boot, since it does
  what would otherwise wait for the boot, and be done without a pause (the vacations of Levy and
  Yechiali, Utilization of Idle Time in an M/G/1 Queueing System, 1975). How soon the hire comes
  follows from the arrival rate, the lowest one of three: over a minute and over ten, because a
  burst is no rate, and one task in the time for which none has come. If tasks come faster than the
  rest of the workers can do them, it is the time in which the queue grows to where one is hired,
  otherwise the mean first passage time of a birth-death process (Keilson, Markov Chain Models:
  Rarity and Exponentiality, 1979).
- If a boot takes longer than tasks may wait, hiring is too late for the tasks that are there. Then
  there are always enough workers for the arrival rate over ten minutes, by Erlang's formula C, and
  never fewer while the rate over a minute is twice that (the panic mode of Knative's autoscaler).
  A worker stays as long as a boot costs more than its idle time: the rule of ski rental (Karlin,
  Manasse, Rudolph and Sleator, Competitive Snoopy Caching, 1988).
- The loop is closed: T follows the share of tasks that did start late
  (:mod:`celery_middle_management.core.policies.steering`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, inf, sqrt
from typing import NamedTuple

from celery_middle_management.core.policies import Advice
from celery_middle_management.core.policies.steering import LATE

#: T is at most this part of the allowed wait: calls and reports take time, too.
MARGIN = 0.92
#: A worker goes that the rest can do without if they need this part of T to work off the tasks.
KEEPS = 0.3
#: From the decision to hire until the platform has it, and tasks are known of (s).
NOTICE = 2.5
#: A worker that ends, or begins to boot, is paid for this long (s) besides its boot.
BESIDES = 2.5
#: A worker that is hired again within this part of a boot stays: it saves little, and boots less.
CALM = 0.4
#: Hiring is not too late for tasks that wait if they may wait for this part of a boot.
IN_TIME = 0.9
#: Tasks that come within this time (s) are one burst.
BURST = 1.0
#: Tasks that run for this many times the mean on average are a surprise.
SURPRISING = 3.0
#: How often (s) to look whether a worker that is kept without need is still worth it.
LOOKS = 3.0
#: While tasks come this many mean times apart, workers for the arrival rate stay.
GAPS = 3.0
#: More states than this of the birth-death process are not gone through.
STATES = 5000


class View(NamedTuple):
    """What the policy knows of a pool. Times are in seconds, rates in tasks per second."""

    tasks: int
    """Waiting and running."""
    workers: int
    """Those that are up, and those that boot."""
    booting: int
    up_in: float
    """After this time those that boot are expected to be up."""
    slots: int
    boot: float
    mean: float
    """Of the run times."""
    doubt: float
    """The standard error of the mean, as a part of it."""
    short: float
    """The arrival rate over a minute."""
    long: float
    """The arrival rate over ten minutes."""
    rate_then: float
    """The latter when the last task came."""
    arrived: float
    """For how long no task has come."""
    waited: float
    """For how long tasks have waited while there was no worker."""
    factor: float
    running: int = 0
    running_for: float = 0.0
    """How long those that run have been running, on average."""
    put_off: float = inf
    """For how long a hire may be put off at most."""


def assumed_mean(wait: float, boot: float) -> float:
    """Return the mean run time (s) to assume before any is known.

    It is the longer, the less time is left to hire again once more is known; and short where hiring
    would be too late anyway.
    """
    return boot * min(wait / boot, sqrt(boot / wait))


@dataclass(frozen=True)
class _Plan:
    """What one decision rests on. Times are in seconds."""

    view: View
    mean: float
    """Of the run times, to be on the safe side."""
    longest: float
    """A task waits for this long at most."""
    horizon: float
    """Workers that are up work off the tasks within this time."""
    new_horizon: float
    """New workers are to be of use within this time."""
    wait: float
    """A task is late after this time."""
    in_time: bool
    """Hiring is not too late for tasks that wait."""

    def slot_jobs(self, time: float) -> float:
        """Return how many tasks a free slot can work off, or begin, within a *time*."""
        return 1 + max(time, 0.0) / self.mean

    def jobs(self, workers: int, time: float) -> float:
        """Return how many tasks workers can work off, or begin, within a *time*."""
        return workers * self.view.slots * self.slot_jobs(time)

    def workers(self, tasks: float, time: float) -> int:
        """Return how many workers can work off or begin *tasks* within a *time*."""
        return ceil(tasks / self.jobs(1, time) - 1e-9)


def _plan(view: View, wait: float) -> _Plan:
    longest = MARGIN * wait
    horizon = view.factor * longest
    in_time = wait >= IN_TIME * view.boot
    new_horizon = max(horizon, view.boot * (1.1 if in_time else 2.0))
    return _Plan(
        view=view,
        mean=view.mean * (1 + view.doubt),
        longest=min(horizon, longest),
        horizon=horizon if in_time else new_horizon,
        new_horizon=new_horizon,
        wait=wait,
        in_time=in_time,
    )


def max_wait(view: View, wait: float) -> Advice:
    """Advise as many workers as 95 % of the tasks need to start within *wait* (s)."""
    plan = _plan(view, wait)
    spare = 0 if plan.in_time else _spare(plan)
    over = _over(plan)
    missing = plan.workers(over, plan.new_horizon - view.boot) if over > 0 else 0
    if missing and not view.workers and not spare:
        left = _can_wait(plan, over, missing)
        if left > 0:
            why = f"{_tasks(view)} can wait for a worker to start within {wait:g} s"
            return Advice(0, why, again=left)
    if missing or spare > view.workers:
        needed = max(view.workers + missing if missing else 0, spare)
        return Advice(needed, f"{_tasks(view)} to start within {wait:g} s: {needed}")
    enough = max(_enough(plan, KEEPS * plan.horizon), spare)
    kept = min(enough, view.workers)
    while kept < view.workers and _worth_keeping(plan, kept + 1):
        kept += 1
    why = f"{_tasks(view)} to start within {wait:g} s: {min(enough, kept)}"
    if kept > enough:
        why += f", and {kept - enough} kept because tasks come soon"
    return Advice(kept, why, again=LOOKS if kept else None)


def _tasks(view: View) -> str:
    return "1 task" if view.tasks == 1 else f"{view.tasks} tasks"


# -- too few


def _over(plan: _Plan) -> float:
    """Return how many tasks there are beyond what the workers can work off in time."""
    view = plan.view
    slots = (view.workers - view.booting) * view.slots
    busy = min(view.running, slots)
    room = busy * _busy_jobs(plan, plan.horizon) + (slots - busy) * plan.slot_jobs(plan.horizon)
    return view.tasks - room - plan.jobs(view.booting, plan.new_horizon - view.up_in)


def _busy_jobs(plan: _Plan, time: float) -> float:
    """Return how many tasks a busy slot can work off or begin within a *time* (s), with its own.

    What runs will end any moment, unless it has been running for surprisingly long: then it is
    expected to run as long again (Lindy's law).
    """
    running_for = plan.view.running_for
    return plan.slot_jobs(time - running_for if running_for > SURPRISING * plan.mean else time)


def _can_wait(plan: _Plan, over: float, missing: int) -> float:
    """Return for how long (s) hiring can wait; 0 if it cannot.

    It can as long as one worker is soon enough for all tasks, or until a burst is complete.
    """
    view = plan.view
    left = plan.longest - view.waited - NOTICE - view.boot
    if left > view.put_off:
        return 0.0
    if missing > 1:
        left = min(left, BURST - view.waited)
    return left if left > 0 and (missing > 1 or plan.workers(over, left) <= 1) else 0.0


# -- too many


def _enough(plan: _Plan, time: float) -> int:
    """Return how many workers are enough to work off or begin all tasks within a *time* (s)."""
    view, busy = plan.view, _busy_jobs(plan, time)
    rest = max(view.tasks - view.running * busy, 0.0)
    slots = min(view.running, view.tasks / busy) + rest / plan.slot_jobs(time)
    return ceil(slots / view.slots - 1e-9)


def _worth_keeping(plan: _Plan, workers: int) -> bool:
    """Return whether the last of so many *workers* costs less than if it went and came back."""
    view = plan.view
    rate = min(view.short, view.long, 1 / max(view.arrived, 1e-3))
    if rate <= 0:
        return False
    rest = workers - 1
    idle = 1 - min(max(rate * plan.mean / view.slots - rest, 0.0), 1.0)
    if idle <= 0:
        return True
    limit = BESIDES + CALM * view.boot if plan.in_time else (view.boot + BESIDES) / idle
    if not rest:
        return max(plan.longest - view.boot - NOTICE, 0.0) + 1 / rate < limit
    return _hired_again_within(plan, rest, rate, limit)


def _hired_again_within(plan: _Plan, workers: int, rate: float, limit: float) -> bool:
    """Return whether *workers* would need another one within so long (s), on average."""
    slots, tasks = workers * plan.view.slots, plan.view.tasks
    enough = plan.jobs(workers, plan.horizon)
    if tasks >= slots or enough > STATES:
        grows = rate - slots / plan.mean
        return grows > 0 and (enough - tasks) / grows < limit
    took, step = 0.0, 1 / rate
    for state in range(ceil(enough)):
        if state >= tasks:
            took += step
            if took > limit:
                return False
        step = 1 / rate + min(state + 1, slots) / plan.mean / rate * step
    return True


# -- workers for the arrival rate


def _spare(plan: _Plan) -> int:
    """Return how many workers tasks need that cannot wait for a boot, at their arrival rate."""
    view = plan.view
    if view.long <= 0 or view.arrived * view.rate_then > GAPS:
        return 0
    enough = _erlang(
        view.long * plan.mean, view.slots, view.factor * MARGIN * plan.wait / plan.mean
    )
    return max(enough, view.workers) if view.short > 2 * view.long else enough


def _erlang(load: float, slots: int, wait: float) -> int:
    """Return how many workers start 95 % of the tasks within a *wait*.

    *load* is the offered load in erlangs, *wait* is in mean run times. This is Erlang's formula C,
    by way of the recursion of his formula B.
    """
    blocked, servers = 1.0, 0
    while True:
        servers += 1
        blocked = load * blocked / (servers + load * blocked)
        if servers <= load or servers % slots:
            continue
        queued = blocked / (1 - load / servers * (1 - blocked))
        if queued * exp(-(servers - load) * wait) <= LATE:
            return servers // slots
