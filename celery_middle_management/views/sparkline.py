"""A row of numbers as one line of text."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

_HEIGHTS = " ▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float]) -> str:
    """One bar for each value, scaled to the highest; a blank for 0."""
    top = max(values, default=0.0) or 1.0
    return "".join(_HEIGHTS[ceil(value * (len(_HEIGHTS) - 1) / top)] for value in values)
