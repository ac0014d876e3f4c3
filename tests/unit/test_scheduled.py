"""Which messages may go back to their queue."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from kombu import Queue

from celery_middle_management.working.scheduled import can_return

LIMITS = {f"limit{n}": n for n in (-1, 0, 1, 2, 5)}
QUEUES = {"classic": Queue("classic")} | {
    name: Queue(name, queue_arguments={"x-delivery-limit": limit}) for name, limit in LIMITS.items()
}


@pytest.mark.parametrize(
    ("queue", "returns", "expected"),
    [
        ("classic", None, True),
        ("classic", 9, True),
        ("classic", 10, False),  # a policy may have set a limit, or RabbitMQ 4 has its own
        ("unknown", 9, True),
        ("unknown", 10, False),
        ("limit-1", 9, True),
        ("limit-1", 10, False),
        ("limit0", None, False),
        ("limit1", None, False),
        ("limit2", None, True),
        ("limit2", 1, False),
        ("limit5", 1, True),
        ("limit5", 2, False),
    ],
)
def test_a_message_goes_back_while_that_leaves_half_of_its_returns(
    queue: str, returns: int | None, expected: bool
) -> None:
    headers = {} if returns is None else {"x-delivery-count": returns}
    assert can_return(SimpleNamespace(headers=headers), QUEUES.get(queue)) is expected
