"""The invariants: pure functions from the events of a journal to verdicts."""

from __future__ import annotations

from collections.abc import Sequence

from tests.chaos.journal import Event

from .apps import others_apart
from .ledger import keys_bounded, scaler_replaced
from .people import pauses_kept, requests_recorded
from .platform import AT_MINIMUM, back_at_minimum, calls_spaced, no_worker_stopped, within_limits
from .publishing import never_slower, nothing_failed, nothing_raised
from .refusals import refusals_alone
from .story import Story, Verdict
from .suite import suite_sound
from .tasks import nothing_killed, nothing_lost, nothing_twice

__all__ = [
    "AT_MINIMUM",
    "Story",
    "Verdict",
    "back_at_minimum",
    "calls_spaced",
    "check",
    "keys_bounded",
    "never_slower",
    "no_worker_stopped",
    "nothing_failed",
    "nothing_killed",
    "nothing_lost",
    "nothing_raised",
    "nothing_twice",
    "others_apart",
    "pauses_kept",
    "refusals_alone",
    "requests_recorded",
    "scaler_replaced",
    "suite_sound",
    "within_limits",
]

INVARIANTS = (
    nothing_killed,
    nothing_lost,
    nothing_twice,
    within_limits,
    no_worker_stopped,
    calls_spaced,
    refusals_alone,
    back_at_minimum,
    requests_recorded,
    pauses_kept,
    others_apart,
    nothing_raised,
    nothing_failed,
    never_slower,
    scaler_replaced,
    keys_bounded,
    suite_sound,
)


def check(events: Sequence[Event]) -> list[Verdict]:
    """Judge a whole run."""
    story = Story(events)
    return [invariant(story) for invariant in INVARIANTS]
