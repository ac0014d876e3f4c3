"""The facts from which `mm status` concludes what is wrong, and one entry of its conclusions."""

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


class TroubleEntry(NamedTuple):
    """One entry of the document's `trouble`: something wrong with the app or with one *pool*."""

    pool: str | None
    what: str
    #: ISO 8601; None if that is not known.
    since: str | None
    #: A word for programs, which does not change while the trouble lasts.
    kind: str


@dataclass(frozen=True)
class Facts:
    """Everything that is known about one app at one time."""

    settings: Settings
    snapshot: Snapshot
    #: Each pool according to the ledger.
    states: Mapping[str, PoolState]
    #: Each pool according to the broker.
    look: Look
    samples: Sequence[Sample]
    #: A sentence that says what the ledger's Redis has run out of; empty if nothing.
    full: str
    #: The ``celery`` command of the app.
    celery: str = "celery -A proj"

    def latest(self, pool: str) -> PoolState:
        """The state of the *pool* by a fresh count, or by dead reckoning if there is none."""
        seen = self.look.pools.get(pool)
        return seen.state if seen else self.states[pool]

    @property
    def heroku_app(self) -> str:
        """The option of ``heroku`` that names the app; empty if that is not known."""
        return f" -a {self.settings.heroku.app}" if self.settings.heroku else ""
