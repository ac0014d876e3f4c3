"""Follows the history in the ledger, and records each request by hand that it finds there."""

from __future__ import annotations

import json
import threading
from typing import Any

import redis

from .brokers import client
from .stage import Stage

#: How often (s) it looks, and at how many entries. It must see those of the time before the ledger
#: is flushed.
EVERY, LATEST = 0.2, 100


class HistoryWatch(threading.Thread):
    """Records the entries that people caused."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(name="history-watch", daemon=True)
        self._stage = stage
        self._over = threading.Event()
        self._known: set[tuple[str, str]] = set()

    def run(self) -> None:
        with client(self._stage.ledger.url) as its:
            while not self._over.wait(EVERY):
                self._look(its)

    def stop(self) -> None:
        self._over.set()
        self.join()

    def _look(self, its: Any) -> None:
        try:
            latest = its.xrevrange(self._stage.key("actions"), count=LATEST)
        except (redis.RedisError, OSError):
            return
        for place, fields in reversed(latest):
            entry = json.loads(fields["entry"])
            if "by" in entry and (place, entry["by"]) not in self._known:
                self._known.add((place, entry["by"]))
                told = {name: entry.get(name) for name in ("pool", "action", "from", "to")}
                self._stage.journal.write("entry", by=entry["by"], place=place, **told)
