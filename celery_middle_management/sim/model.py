"""What a simulation assumes about the platform, the workers and the pool."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Model:
    """The assumptions of a simulation. Times are in seconds."""

    #: The limits of the pool.
    minimum: int = 0
    maximum: int = 50
    #: From a worker's hire until it takes tasks.
    boot: float = 12.0
    #: How many tasks a worker runs at the same time.
    concurrency: int = 1
    #: Celery's ``worker_prefetch_multiplier``: for each of its slots, a worker holds so many
    #: messages at most, those that run included, as with late acknowledgement. While tasks are
    #: long, a worker of Middle Management holds one for each slot.
    prefetch: int = 1
    #: From a request to the platform until it takes effect.
    latency: float = 0.5
    #: From SIGTERM until the platform kills a worker that has not ended.
    grace: float = 30.0
    #: How long a worker that has come up and runs nothing takes to end.
    shutdown: float = 2.0
    #: Middle Management's ``call_interval``.
    call_interval: float = 10.0
    #: True if Middle Management hires one-off dynos. Every other policy scales the formation.
    one_off: bool = False
    #: Decides whatever is left to chance, such as when a periodic check is made.
    seed: int = 0
