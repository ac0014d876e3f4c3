"""How long tasks run, where a trace does not say: a lognormal distribution."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from itertools import repeat
from random import Random
from reprlib import repr as short

#: With more, nearly all of the work would be in a task of a million or more.
LARGEST_SIGMA = 10.0
#: Longer means (s) are of no use, and run times might not be finite numbers.
LARGEST_MEAN = 1e9


@dataclass(frozen=True)
class RunTimes:
    """Lognormal run times (s); without *sigma* each is the mean."""

    mean: float
    #: The standard deviation of the run times' logarithm.
    sigma: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.mean <= LARGEST_MEAN and 0 <= self.sigma <= LARGEST_SIGMA):
            raise ValueError(_wrong(f"{self.mean}:{self.sigma}"))

    @classmethod
    def parse(cls, text: str) -> RunTimes:
        """Read ``MEAN`` or ``MEAN:SIGMA``, such as ``2:1.5``."""
        mean, colon, sigma = text.partition(":")
        try:
            return cls(float(mean), float(sigma) if colon else 0.0)
        except ValueError:
            raise ValueError(_wrong(text)) from None

    def draw(self, count: int, random: Random) -> array[float]:
        """Return *count* run times (s), which are the same for a *random* in the same state."""
        if not self.sigma:
            return array("d", [self.mean]) * count
        # So the mean of the run times, not that of their logarithms, is the one given.
        mu = math.log(self.mean) - self.sigma**2 / 2
        return array("d", map(random.lognormvariate, repeat(mu, count), repeat(self.sigma)))


def _wrong(given: str) -> str:
    return (
        f"{short(given)} is not MEAN or MEAN:SIGMA of run times; allowed: a mean (s) more than 0 "
        f"and at most {LARGEST_MEAN:.0f}, and a sigma from 0 to {LARGEST_SIGMA:.0f}"
    )
