"""KEDA with its Redis lists scaler, and Kubernetes' Horizontal Pod Autoscaler."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import ceil, inf

from celery_middle_management.sim.scaler import Seen

#: KEDA looks whether there is anything to do this often (s): it takes pods from zero to one, ...
_POLLING = 30.0
#: ... and to zero once there has been nothing for this long (s).
_COOLDOWN = 300.0
#: The autoscaler decides this often (s).
_SYNC = 15.0
#: It does nothing if the ratio to the target is this close to 1.
_TOLERANCE = 0.1
#: It scales down to the highest recommendation of this time (s).
_STABILIZATION = 300.0
#: In one period it adds at most as many pods as there are, or this many if that is more.
_ADDS = 4


@dataclass
class Keda:
    """A pod for *target* waiting tasks.

    The autoscaler decides on the number, and KEDA itself when to go from and to zero.
    The metric is the length of the list: tasks that workers hold do not count. A pod that is
    removed gets 30 s to end.

    Sources:
        https://keda.sh/docs/2.15/concepts/scaling-deployments/,
        https://keda.sh/docs/2.15/reference/scaledobject-spec/,
        https://keda.sh/docs/2.15/scalers/redis-lists/,
        https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/ and its
        replica_calculator.go.
    """

    target: int
    interval: float = _SYNC
    _polled_at: float = -inf
    _active_at: float = -inf
    _recommended: deque[tuple[float, int]] = field(default_factory=deque)

    def workers(self, seen: Seen) -> int:
        quantity = (
            self._activated(seen) if seen.now - self._polled_at >= _POLLING else seen.quantity
        )
        return self._scaled(seen, quantity) if quantity and seen.quantity else quantity

    def _activated(self, seen: Seen) -> int:
        """Return the number of pods after KEDA has polled."""
        self._polled_at = seen.now
        if seen.waiting:
            self._active_at = seen.now
            return max(seen.quantity, 1)
        return 0 if seen.now - self._active_at > _COOLDOWN else seen.quantity

    def _scaled(self, seen: Seen, quantity: int) -> int:
        """Return the number of pods after the autoscaler has decided."""
        ratio = seen.waiting / (self.target * quantity)
        wanted = quantity if abs(1 - ratio) <= _TOLERANCE else ceil(seen.waiting / self.target)
        wanted = max(wanted, 1)
        self._recommended.append((seen.now, wanted))
        while self._recommended[0][0] < seen.now - _STABILIZATION:
            self._recommended.popleft()
        if wanted < quantity:
            return min(quantity, max(workers for _, workers in self._recommended))
        return min(wanted, max(2 * quantity, quantity + _ADDS))
