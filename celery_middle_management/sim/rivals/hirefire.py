"""HireFire's ratio of jobs to workers."""

from __future__ import annotations

from dataclasses import dataclass

from celery_middle_management.sim.scaler import Seen


@dataclass
class HireFire:
    """One worker for *ratio* jobs, at every check.

    Its job queue manager keeps a ratio of workers to jobs at every check-up, every 60 s or, for
    a higher price, every 15 s at best. It changes the number by the whole difference, and with the
    recommended option "decrementable" also lowers it while jobs are left. Its Celery macro counts
    the tasks in the queue and those that workers have taken (hirefire-resource 1.0.4).

    Sources:
        https://help.hirefire.io/article/7-manager-checkup-frequency,
        https://help.hirefire.io/article/14-decrementable-option,
        https://github.com/hirefire/hirefire-resource-python. That it rounds up is assumed.
    """

    ratio: int
    interval: float = 60.0

    def workers(self, seen: Seen) -> int:
        return -(-(seen.waiting + seen.held) // self.ratio)
