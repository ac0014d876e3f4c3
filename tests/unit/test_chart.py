"""The chart that explains the scaling: each event, and the number of workers after it."""

from __future__ import annotations

from celery_middle_management.core.demand import reckon
from celery_middle_management.core.policies.backlog import backlog

from .pools import settle, view

#: Event, tasks that it publishes, tasks that it finishes, number of workers after it.
CHART = [
    ("boot up", 0, 0, 0),
    ("rotate 3 images", 3, 0, 3),
    ("first image rotated", 0, 1, 2),
    ("second image rotated", 0, 1, 1),
    # The third image is rotated while the emails are sent.
    ("send 105 emails", 105, 1, 10),
    *[("10 emails sent", 0, 10, 10)] * 9,
    ("10 emails sent", 0, 10, 5),
    ("last 5 emails sent", 0, 5, 0),
]


def test_chart() -> None:
    published = finished = 0
    seen = view(0, 0)
    totals = []
    for _, new, done, _ in CHART:
        published, finished = published + new, finished + done
        needed = backlog(reckon(None, published, finished, 0), 1).within(0, 10).workers
        seen = settle(view(seen.quantity, needed, *seen.fleet.presences, cordon=seen.cordon))
        totals.append(seen.quantity)
    assert totals == [total for *_, total in CHART]
