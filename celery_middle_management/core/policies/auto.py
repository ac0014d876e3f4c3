"""The measured backlog policy: as many tasks for a worker as it runs while another one boots.

The Ruby gem middle_management (https://github.com/freerobby/middle_management) describes this
number and leaves it to its users to guess.
"""

from __future__ import annotations


def jobs_per_worker(slots: int, boot: float, mean: float) -> int:
    """Return *slots* x *boot* / *mean* run time (s), but never fewer tasks than slots."""
    return max(round(slots * boot / mean), slots, 1)
