"""The headers of a message that is counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: The header that a counted message bears; its value is the queue that it was published to.
HEADER = "mm_queue"
#: Where copies of it go to several queues, all of them.
COPIES = "mm_queues"
#: When it could be started: published, or due. The ledger's time, as far as who published knew it.
STARTABLE = "mm_startable"

#: A task that falls due within this time (s) is as good as due.
SOON = 1.0


def eta_of(headers: Mapping[str, Any], body: Any) -> Any:
    """The ETA of a message that is published; with protocol 1, its body has it."""
    holder = body if isinstance(body, Mapping) and "eta" not in headers else headers
    return holder.get("eta")


def taken_early(headers: Mapping[str, Any], at: float) -> bool:
    """Whether a message that was taken from its queue at that time (Unix, s) has an ETA.

    With protocol 1 its headers do not tell, but for when it can be started.
    """
    if "eta" in headers:
        return bool(headers["eta"])
    startable = headers.get(STARTABLE)
    return isinstance(startable, (int, float)) and startable > at + SOON
