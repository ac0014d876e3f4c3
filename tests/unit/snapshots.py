"""Ledgers as `mm status` finds them, made by hand, and a broker to go with them."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from celery_middle_management.brokers.base import Backlogs, Broker, CountFailed
from celery_middle_management.cli.status_screen import status_screen
from celery_middle_management.core.demand import Backlog, Held
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.presence import Presence
from celery_middle_management.evaluation.ports import Queues
from celery_middle_management.ledger.model import Snapshot
from celery_middle_management.settings.model import Settings
from celery_middle_management.settings.reading import Secret
from celery_middle_management.views.look import look_at
from celery_middle_management.views.status import status_of

PAGE = Path(__file__).parent.parent.parent / "docs" / "status.md"
#: The kinds of trouble that docs/status.md names.
KINDS = {*re.findall(r"^\| `([a-z-]+)` \|", PAGE.read_text().partition("## What may be")[2], re.M)}
NOW = 1_800_000_000.0
WORKER = Pool("worker", None, 0, 10, 10)
PDF = Pool("pdf", ("pdf", "urgent"), 1, 3, 1)


def settings(*pools: Pool) -> Settings:
    return Settings(
        platform="local",
        pools=pools or (WORKER,),
        redis_url=Secret("redis://"),
        redis_options={},
        call_interval=10.0,
        count_interval=60.0,
        drain_timeout=None,
        heroku=None,
    )


def snapshot(*presences: Presence, due: dict[int, int] | None = None, **state: object) -> Snapshot:
    """A ledger of the pool `worker`, reported to just now; fields of the app begin with `app_`."""
    state = {"app_told_at": NOW * 1000, **state}
    fields = {
        name.removeprefix("app_") if name.startswith("app_") else f"worker/{name}": (
            value if isinstance(value, str) else json.dumps(value)
        )
        for name, value in state.items()
    }
    return Snapshot(NOW, fields, {"worker": due or {}}, presences, {"mail": NOW - 5})


def presence(name: str, seen: float = NOW, queue: str = "celery", **fields: Any) -> Presence:
    held = {queue: Held(**fields)} if fields else {}
    return Presence(name, name, name.partition(".")[0], NOW - 100, seen, queues=(queue,), held=held)


class Holds(Broker):
    """A broker with that many messages in each queue, or with queues that cannot be read."""

    def __init__(self, *failed: str, **ready: int) -> None:
        self._ready, self._failed = ready, failed

    def backlogs(self, queues: Sequence[str], unacknowledged: Mapping[str, int]) -> Backlogs:
        if "broker" in self._failed:
            raise CountFailed("the broker could not be read")
        broken = {q: CountFailed(f"the queue {q!r} could not be read") for q in self._failed}
        return {q: broken.get(q) or Backlog(self._ready.get(q, 0)) for q in queues}


def looked(
    broker: Broker, ledger: Snapshot, *pools: Pool, given: Settings | None = None, **more: Any
) -> dict[str, Any]:
    """The status of an app, with a look at its broker."""
    given = given or settings(*pools)
    queues = ("celery", "pdf")
    look = look_at(broker, given, ledger, Queues(queues))
    document = status_of(given, ledger, queues, look=look, **more)
    kinds = {trouble["kind"] for trouble in document["trouble"]}
    assert kinds <= KINDS, "docs/status.md names what may be wrong"
    return document


def shown(document: dict[str, Any], width: int = 100, *, full: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(status_screen(document, full=full))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
