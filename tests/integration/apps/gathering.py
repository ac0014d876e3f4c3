"""An app with a task of celery-batches, which gathers messages by a strategy of its own."""

from __future__ import annotations

from typing import Any

from celery_batches import Batches

from .everyday import app
from .journal import Journal


@app.task(base=Batches, name="gather", flush_every=50, flush_interval=300)
def gather(requests: list[Any]) -> None:
    """Write down how many messages there were."""
    Journal().begin(str(len(requests)))
