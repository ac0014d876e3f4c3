"""The everyday app, whose workers take seconds to end once their pool has."""

from __future__ import annotations

import time
from typing import Any

from celery import bootsteps
from celery.worker.components import Pool

from .everyday import app, work

__all__ = ["app", "work"]


class Lingering(bootsteps.StartStopStep):
    """As a user's own, with something to send off at the end."""

    def stop(self, _worker: Any) -> None:
        time.sleep(5.0)


app.steps["worker"].add(Lingering)
# What was started first is stopped last.
Pool.requires = (*Pool.requires, Lingering)
