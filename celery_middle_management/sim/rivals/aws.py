"""AWS's target tracking of the backlog per worker."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import ceil

from celery_middle_management.sim.scaler import Seen

#: Scale out after so many minutes in a row above the target, ...
_OUT_AFTER = 3
#: ... and in after so many below this part of it.
_IN_AFTER = 15
_IN_BELOW = 0.9
#: It removes at most one worker in so many at once, but one at least.
_REMOVES = 10
#: The time (s) between two changes in the same direction.
_COOLDOWN = 300.0


@dataclass
class Aws:
    """As many workers as keep the backlog per worker at *target*, as for ECS services.

    The backlog per worker is published every minute: the waiting tasks by the workers there are.
    The new number is the old one times the metric by the target, rounded up. From zero, one data
    point suffices for a first worker. While a scale-out cools down, only a larger one is made. It
    scales in "more gradually"; how much so is assumed.

    Sources:
        https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-using-sqs-queue.html,
        https://docs.aws.amazon.com/autoscaling/application/userguide/
        application-auto-scaling-target-tracking.html,
        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-auto-scaling.html. That
        it takes 3 and 15 data points, and nine tenths of the target, is what users report
        (https://github.com/aws/containers-roadmap/issues/1208).
    """

    target: float
    interval: float = 60.0
    _backlogs: deque[float] = field(default_factory=lambda: deque(maxlen=_IN_AFTER))
    _out_at: float | None = None
    _in_at: float | None = None

    def workers(self, seen: Seen) -> int:
        quantity, now = seen.quantity, seen.now
        backlog = seen.waiting / max(quantity, 1)
        self._backlogs.append(backlog)
        if not quantity:
            return int(seen.waiting > 0)
        latest = [*self._backlogs]
        wanted = ceil(quantity * backlog / self.target)
        if len(latest) >= _OUT_AFTER and min(latest[-_OUT_AFTER:]) > self.target:
            # The target was missed by what is there, which has what the last change added.
            self._out_at = now
            return max(wanted, quantity)
        calm = len(latest) == _IN_AFTER and max(latest) < _IN_BELOW * self.target
        if calm and all(at is None or now - at >= _COOLDOWN for at in (self._out_at, self._in_at)):
            self._in_at = now
            return min(quantity, max(wanted, quantity - max(quantity // _REMOVES, 1)))
        return quantity
