"""The ledger in Redis: every key, and what calls the scripts in ``lua/``.

All keys share one prefix with a hash tag, and expire some days after the last sign of life:

- ``state`` (hash): scalars of the app, and of each pool under ``<pool>/<field>``
- ``due`` (hash): scheduled tasks by ``<pool>/<bucket>``
- ``workers`` (hash): the presence of each live worker
- ``queues`` (hash): queues published to, and when last
- ``actions`` (stream): the last changes, troubles and wishes, capped
- ``samples`` (stream): the counters when each minute began, capped
- ``lock`` (string): the token of the one scaler

None is a list, which others (Judoscale) take for a queue of Celery's. The releases until November
2026 had two, ``history`` and ``minutes``: they are read for as long as they live.

What a process tells (counters, due times, queues, its presence, and when that was) is written by
every process in ``report.lua``; everything else by the holder of the lock alone, in ``commit.lua``,
which refuses who no longer holds it. Each is one script, so a process that dies between two lines
leaves either all of a step or nothing of it. Times are the ledger's, in milliseconds within the
scripts and in seconds outside: Redis' own, but that they go on evenly when Redis' clock steps
(``prelude.lua``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import redis

from celery_middle_management.core.presence import Presence
from celery_middle_management.ledger.codec import by_pool, pack_presence, unpack_presences
from celery_middle_management.ledger.connection import connect
from celery_middle_management.ledger.ledger import Ledger, Message
from celery_middle_management.ledger.lua import script
from celery_middle_management.ledger.model import HISTORY, Snapshot
from celery_middle_management.settings.model import Settings


class RedisLedger(Ledger):
    """Over at most one connection. Every method raises redis.RedisError when Redis fails."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        tag = settings.heroku.app if settings.heroku else settings.platform
        names = ("state", "due", "workers", "queues", "actions", "samples", "lock")
        self._prefix = f"{{middle-management:{tag}}}"
        self.keys = {name: f"{self._prefix}:{name}" for name in names}
        self.redis = connect(settings)
        #: How far the history has been read by :meth:`news`.
        self._place: str | None = None
        self._scripts = {
            name: self.redis.register_script(script("prelude", name))
            for name in ("report", "snapshot", "commit", "intend", "probe")
        }

    def close(self) -> None:
        """Close the connection."""
        self.redis.close()
        self.redis.connection_pool.disconnect()

    def rest(self) -> None:
        """Close the connection until it is used again; nobody's use of it is cut off."""
        untyped: Any = self.redis
        with untyped.client() as its_only_user:
            its_only_user.connection.disconnect()

    def probe(self) -> None:
        """Do as every process does, and change nothing; raises what Redis says to that."""
        hashes, streams = ("state", "due", "workers", "queues"), ("actions", "samples")
        self._scripts["probe"](self._keys(*hashes, *streams), [len(hashes)])
        self.snapshot()

    @property
    def full(self) -> str:
        try:
            told: Any = self.redis.info("memory") | self.redis.info("clients")
        except redis.RedisError:  # such as a user that may not ask
            return ""
        memory, most = int(told["used_memory"]), int(told.get("maxmemory", 0))
        if 0 < most <= memory and told.get("maxmemory_policy") == "noeviction":
            return (
                f"the ledger's Redis has no memory left: {memory} of {most} bytes are in use. See "
                'what takes it (`redis-cli -u "$REDIS_URL" --bigkeys`) and delete that, or take a '
                "larger plan"
            )
        there, limit = int(told["connected_clients"]), int(told.get("maxclients", 0))
        if 0 < limit <= there:
            return (
                f"the ledger's Redis has no connection left: {there} of {limit} are in use. See "
                'what holds them (`redis-cli -u "$REDIS_URL" client list`), or take a larger plan'
            )
        return ""

    def _report(self, message: Message, presence: Presence | None) -> Message:
        if presence is not None:
            message = {**message, "presence": pack_presence(presence)}
        keys = self._keys("state", "due", "workers", "queues", "lock", "samples")
        answer: dict[str, Any] = json.loads(self._scripts["report"](keys, [json.dumps(message)]))
        return answer

    def _read(self, bounds: Mapping[str, int]) -> Snapshot:
        now, offset, state, due, workers, queues = self._scripts["snapshot"](
            self._keys("state", "due", "workers", "queues"), [json.dumps(bounds)]
        )
        return Snapshot(
            now=now / 1000,
            state=_lines(state),
            due=by_pool(_lines(due)),
            presences=unpack_presences(_lines(workers)),
            queues={queue: float(at) / 1000 for queue, at in _pairs(queues).items()},
            offset=offset / 1000,
        )

    def _minutes(self, most: int) -> Iterable[str]:
        return self._latest("samples", most, "minutes", lambda told: told[0])

    def _commit(self, token: str, message: Mapping[str, Any]) -> bool:
        keys = self._keys("state", "due", "workers", "queues", "actions", "lock")
        return bool(self._scripts["commit"](keys, [token, json.dumps(message)]))

    def _intend(self, message: Message) -> None:
        self._scripts["intend"](self._keys("state", "actions"), [json.dumps(message)])

    def actions(self) -> tuple[str, ...]:
        return tuple(self._latest("actions", HISTORY, "history", lambda told: told["at"]))

    def news(self) -> list[str]:
        """What others have written into the history since the last call, packed, the oldest first;
        nothing the first time.
        """
        untyped: Any = self.redis
        actions = self.keys["actions"]
        if self._place is None:
            last = untyped.xrevrange(actions, count=1)
            self._place = last[0][0] if last else "0-0"
            return []
        told = untyped.xrevrange(actions, min=self._place, count=HISTORY)
        new = [fields["entry"] for place, fields in reversed(told) if place != self._place]
        self._place = told[0][0] if told else self._place
        return [entry for entry in new if entry not in self._own]

    def _latest(self, name: str, most: int, former: str, at: Callable[[Any], Any]) -> list[str]:
        """The last entries of a stream, and of the *former* list, the latest first."""
        untyped: Any = self.redis
        latest = [fields["entry"] for _, fields in untyped.xrevrange(self.keys[name], count=most)]
        old = untyped.lrange(f"{self._prefix}:{former}", 0, most - 1)
        if not old:
            return latest
        return sorted(latest + old, key=lambda told: at(json.loads(told)), reverse=True)[:most]

    def _keys(self, *names: str) -> list[str]:
        return [self.keys[name] for name in names]


def _lines(text: str) -> dict[str, str]:
    return _pairs(text.split("\n") if text else [])


def _pairs(flat: list[str]) -> dict[str, str]:
    each = iter(flat)
    return dict(zip(each, each, strict=True))
