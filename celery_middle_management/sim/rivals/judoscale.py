"""Judoscale's thresholds of queue time."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from celery_middle_management.sim.scaler import Seen

#: Hire if the oldest waiting task has waited for longer than this (s), ...
_UPPER = 10.0
#: ... but at most once in this time (s).
_UP_EVERY = 60.0
#: Fire if no task has waited for this long (s) ...
_LOWER = 1.0
#: ... in so long a time (s).
_DOWN_AFTER = 600.0


@dataclass
class Judoscale:
    """One worker more if the oldest waiting task is old, one fewer after ten minutes of calm.

    Adapters report the age of the oldest waiting task every 10 s. By default the number changes by
    one, upwards at most once in the "upscale frequency", downwards after a delay of ten minutes
    below the range, and after another ten minutes for each further worker. Running tasks do not
    count. The thresholds are for each user to set; here they suit tasks that should start soon.
    From zero a worker is hired as soon as a task is seen.

    Sources:
        https://judoscale.com/docs/tuning-your-application,
        https://judoscale.com/guides/autoscaling-behavior/,
        https://github.com/judoscale/judoscale-python. The frequency of 60 s is assumed.
    """

    interval: float = 10.0
    _hired_at: float = -inf
    #: Since when no task has waited long, or when the last worker was fired after that.
    _calm_since: float | None = None

    def workers(self, seen: Seen) -> int:
        now, quantity = seen.now, seen.quantity
        if seen.longest_wait >= _LOWER:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = now
        if seen.waiting and quantity == 0:
            self._hired_at = now
            return 1
        if seen.longest_wait > _UPPER and now - self._hired_at >= _UP_EVERY:
            self._hired_at = now
            return quantity + 1
        if self._calm_since is not None and now - self._calm_since >= _DOWN_AFTER:
            self._calm_since = now
            return quantity - 1
        return quantity
