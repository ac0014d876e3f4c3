"""The ledger in Redis: every key, and what calls the scripts in ``lua/``.

All keys share one prefix with a hash tag, and expire some days after the last sign of life:

- ``state`` (hash): scalars of the app, and of each pool under ``<pool>/<field>``
- ``due`` (hash): scheduled tasks by ``<pool>/<bucket>``
- ``workers`` (hash): the presence of each live worker
- ``queues`` (hash): queues published to, and when last
- ``history`` (list): the last actions, capped
- ``lock`` (string): the token of the one scaler

What a process tells (counters, due times, queues, its presence, and when that was) is written by
every process in ``report.lua``; everything else by the holder of the lock alone, in ``commit.lua``,
which refuses who no longer holds it. Each is one script, so a process that dies between two lines
leaves either all of a step or nothing of it. Times are the ledger's, in milliseconds within the
scripts and in seconds outside: Redis' own, but that they go on evenly when Redis' clock steps
(``prelude.lua``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from celery_middle_management.ledger.connection import connect
from celery_middle_management.ledger.ledger import Kept, Ledger
from celery_middle_management.ledger.lua import script
from celery_middle_management.settings.model import Settings


class RedisLedger(Ledger):
    """Over at most one connection. Every method raises redis.RedisError when Redis fails."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        tag = settings.heroku.app if settings.heroku else settings.platform
        names = ("state", "due", "workers", "queues", "history", "lock")
        prefix = f"{{middle-management:{tag}}}"
        self.keys = {name: f"{prefix}:{name}" for name in names}
        self.redis = connect(settings)
        self._scripts = {
            name: self.redis.register_script(script("prelude", name))
            for name in ("report", "snapshot", "commit")
        }

    def close(self) -> None:
        """Close the connection."""
        self.redis.close()
        self.redis.connection_pool.disconnect()

    def _report(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        keys = self._keys("state", "due", "workers", "queues", "lock")
        answer: dict[str, Any] = json.loads(self._scripts["report"](keys, [json.dumps(message)]))
        return answer

    def _read(self, bounds: Mapping[str, int]) -> Kept:
        now, offset, state, due, workers, queues = self._scripts["snapshot"](
            self._keys("state", "due", "workers", "queues"), [json.dumps(bounds)]
        )
        return Kept(now, offset, _lines(state), _lines(due), _lines(workers), _pairs(queues))

    def _commit(self, token: str, message: Mapping[str, Any]) -> bool:
        keys = self._keys("state", "due", "workers", "queues", "history", "lock")
        return bool(self._scripts["commit"](keys, [token, json.dumps(message)]))

    def _keys(self, *names: str) -> list[str]:
        return [self.keys[name] for name in names]


def _lines(text: str) -> dict[str, str]:
    return _pairs(text.split("\n") if text else [])


def _pairs(flat: list[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
