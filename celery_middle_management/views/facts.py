"""What is known of an app when `mm status` tells what is wrong, and how it tells one thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from celery_middle_management.core.history import Sample
from celery_middle_management.core.pool_state import PoolState
from celery_middle_management.ledger.model import Snapshot
from celery_middle_management.settings.model import Settings
from celery_middle_management.views.look import Look

Document = Mapping[str, Any]


class Told(NamedTuple):
    """One thing that is wrong, of the whole app or of one *pool*."""

    pool: str | None
    what: str
    #: ISO 8601; None where that is not known.
    since: str | None
    #: A word for programs, the same for as long as it is the same trouble.
    kind: str


@dataclass(frozen=True)
class Facts:
    """All that is known."""

    settings: Settings
    snapshot: Snapshot
    #: Each pool by the ledger, ...
    states: Mapping[str, PoolState]
    #: ... and by the broker.
    look: Look
    samples: Sequence[Sample]
    #: What the ledger has no more of.
    full: str
    #: The ``celery`` command of the app.
    celery: str = "celery -A proj"

    def truth(self, pool: str) -> PoolState:
        """The pool by a count of now, or as the ledger reckons it."""
        seen = self.look.pools.get(pool)
        return seen.state if seen else self.states[pool]

    @property
    def on_heroku(self) -> str:
        """The option of ``heroku`` that names the app; empty where it is not known."""
        return f" -a {self.settings.heroku.app}" if self.settings.heroku else ""
