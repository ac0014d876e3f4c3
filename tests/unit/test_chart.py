"""The chart that explains the scaling: what happens, and how many workers there are then."""

from __future__ import annotations

from celery_middle_management.core.demand import reckon
from celery_middle_management.core.policies.backlog import backlog

from .pools import settle, view

#: What happens, tasks published by it, tasks finished by it, total of workers then.
CHART = [
    ("boot up", 0, 0, 0),
    ("rotate 3 images", 3, 0, 3),
    ("first image rotated", 0, 1, 2),
    ("second image rotated", 0, 1, 1),
    # The third image is done by the time the last emails go.
    ("send 105 emails", 105, 1, 10),
    *[("10 emails sent", 0, 10, 10)] * 9,
    ("10 emails sent", 0, 10, 5),
    ("last 5 emails sent", 0, 5, 0),
]


def test_chart() -> None:
    published = finished = 0
    seen = view(0, 0)
    totals = []
    for _, told, done, _ in CHART:
        published, finished = published + told, finished + done
        needed = backlog(reckon(None, published, finished, 0), 1).within(0, 10).workers
        seen = settle(view(seen.quantity, needed, *seen.fleet.presences, cordon=seen.cordon))
        totals.append(seen.quantity)
    assert totals == [total for *_, total in CHART]
