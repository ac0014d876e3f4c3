"""How many one-off dynos an app can have at once, by their size.

See "One-Off Dynos" and "Dyno Scaling and Process Limits" at https://devcenter.heroku.com.
"""

from __future__ import annotations

#: By the beginning of the size's name; the sizes of the Fir generation have other names.
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
    """Return how many one-off dynos of this *size* an app can have at once."""
    kind = size.lower()
    return next((most for begin, most in _MOST.items() if kind.startswith(begin)), _MOST_ON_FIR)
