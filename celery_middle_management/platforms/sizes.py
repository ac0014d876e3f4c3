"""Sizes of Heroku's dynos: how many one-off ones an app can have at once.

See "One-Off Dynos" and "Dyno Scaling and Process Limits" at https://devcenter.heroku.com.
"""

from __future__ import annotations

#: By how the name of a size begins; those of Fir begin otherwise.
_MOST = {
    "eco": 1,
    "basic": 50,
    "hobby": 50,
    "standard": 50,
    "performance": 5,
    "private": 5,
    "shield": 5,
}
_MOST_ON_FIR = 255


def most_one_offs(size: str) -> int:
    """How many one-off dynos of this *size* an app can have at once."""
    kind = size.lower()
    return next((most for begin, most in _MOST.items() if kind.startswith(begin)), _MOST_ON_FIR)
