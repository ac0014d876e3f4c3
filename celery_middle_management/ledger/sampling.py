"""How a report takes a sample of all pools, if it is the first of its minute."""

from __future__ import annotations

from typing import TypedDict

from celery_middle_management.core.history import COUNTERS
from celery_middle_management.core.timing import SILENT
from celery_middle_management.ledger.model import MOST_MINUTES, MOST_TENS, millis
from celery_middle_management.settings.model import Settings


class _Sampling(TypedDict):
    counters: tuple[str, ...]
    pools: dict[str, str]
    silent: int
    most_minutes: int
    most_tens: int


class Sampling(_Sampling, total=False):
    """The fields that a sample is made by. See ``report_samples.lua``."""

    rest: str


def sampling_of(settings: Settings) -> Sampling:
    """Return how to take samples of the pools in *settings*."""
    pools = {queue: pool.name for pool in settings.pools for queue in pool.queues or ()}
    sampling: Sampling = {
        "counters": COUNTERS,
        "pools": pools,
        "silent": millis(SILENT),
        "most_minutes": MOST_MINUTES,
        "most_tens": MOST_TENS,
    }
    for pool in settings.pools:
        if not pool.queues:
            sampling["rest"] = pool.name
    return sampling
