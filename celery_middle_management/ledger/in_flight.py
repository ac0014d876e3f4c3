"""A process's memory of the calls that can still take effect at the platform.

If the ledger loses its data, these calls are not forgotten: the process reports them again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from celery_middle_management.ledger.messages import InFlight, ReportReply
from celery_middle_management.ledger.model import Changes

#: The name of a field that holds a call ends with one of these.
_CALLS = ("/fire", "/hire")


class CallsInFlight:
    """The calls in flight by `<pool>/fire` and `<pool>/hire`, as of the last reply or commit."""

    def __init__(self) -> None:
        #: The ledger's name for itself: if it differs, the ledger has lost its data.
        self._born: str = ""
        self.calls: Mapping[str, dict[str, Any]] = {}

    def learn(self, answer: ReportReply) -> None:
        """Remember what the ledger answered to a report."""
        sent = answer.get("sent")
        self._born, self.calls = answer["born"], json.loads(sent) if sent else {}

    def before_commit(self, changes: Changes) -> None:
        """Remember the calls that the platform confirmed: they stay so if the commit fails."""
        self._update(changes, only_done=True)

    def after_commit(self, changes: Changes) -> None:
        """Remember the announced calls as well: they are sent only after the commit."""
        self._update(changes, only_done=False)

    def _update(self, changes: Changes, *, only_done: bool) -> None:
        written = {n: json.loads(v) for n, v in changes.set.items() if n.endswith(_CALLS)}
        kept = {name: call for name, call in self.calls.items() if name not in changes.unset}
        new = {n: c for n, c in written.items() if c.get("done") or not only_done}
        self.calls = kept | new

    def at(self, now: float) -> tuple[str, dict[str, InFlight]]:
        """Return the ledger's name, and the calls that are in flight at its time *now* (s)."""
        calls: dict[str, InFlight] = {
            name: {"to": call["to"], "done": call.get("done", False), "left": call["until"] - now}
            for name, call in self.calls.items()
            if call["until"] > now
        }
        return self._born, calls
