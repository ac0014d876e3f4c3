"""An app with a task of celery-batches, which gathers messages by a strategy of its own."""

from __future__ import annotations

import os
from typing import Any

from celery_batches import Batches

from .everyday import app
from .journal import Journal


@app.task(base=Batches, name="gather", flush_every=50, flush_interval=300)
def gather(requests: list[Any]) -> None:
    """Write down how many messages there were."""
    Journal().begin(str(len(requests)))


@app.task(
    base=Batches,
    name="hold_batch",
    flush_every=2,
    flush_interval=float(os.environ.get("FLUSH_INTERVAL", "300")),
)
def hold_batch(requests: list[Any]) -> None:
    """Run until the test lets it go, and write down of which message it was the batch."""
    journal = Journal()
    journal.begin(requests[0].id)
    journal.wait_to_be_let_go()
    journal.end(requests[0].id)
