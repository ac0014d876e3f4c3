"""The headers of a message that is counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: The header of every counted message: the queue that it was published to.
HEADER = "mm_queue"
#: All queues, if the broker puts copies of the message into several.
COPIES = "mm_queues"
#: When the task could first start (when published, or due): the ledger's time, as then known.
STARTABLE = "mm_startable"

#: A task that is due within this time (s) counts as due.
SOON = 1.0


def eta_of(headers: Mapping[str, Any], body: Any) -> Any:
    """Return the ETA of a message; with protocol 1, it is in the body."""
    holder = body if isinstance(body, Mapping) and "eta" not in headers else headers
    return holder.get("eta")


def taken_early(headers: Mapping[str, Any], at: float) -> bool:
    """Return whether a message that was taken from its queue *at* a time (Unix, s) has an ETA.

    With protocol 1, the headers say only when it can be started.
    """
    if "eta" in headers:
        return bool(headers["eta"])
    startable = headers.get(STARTABLE)
    return isinstance(startable, (int, float)) and startable > at + SOON
