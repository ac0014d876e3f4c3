"""Heroku's one-off dynos: each starts alone, ends with its command, and is not restarted.

See https://devcenter.heroku.com/articles/one-off-dynos. If the command is a process type, Heroku
replaces it by the command of that type. The dyno costs the same per second as one of the formation,
and runs on through deploys, for 24 hours at most.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import quote

from heroku3.models.app import App
from heroku3.models.dyno import Dyno

from celery_middle_management import threads
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.roster import LIFETIME
from celery_middle_management.log_throttle import LogThrottle
from celery_middle_management.platforms.base import (
    HIRE_VARIABLE,
    POOL_VARIABLE,
    Listing,
    OneOff,
    OneOffPlatform,
    PlatformError,
)
from celery_middle_management.platforms.heroku_calls import HerokuCalls
from celery_middle_management.platforms.sizes import most_one_offs

logger = logging.getLogger(__name__)

RUNNING = frozenset({"starting", "up", "idle"})
#: The number of requests under way at one time.
AT_ONCE = 8


class ProcessType(NamedTuple):
    """A process type of the app: its number of dynos, their size, and its Procfile command."""

    quantity: int
    size: str
    command: str


class HerokuOneOffs(OneOffPlatform):
    """Hires dynos one by one."""

    def __init__(self, calls: HerokuCalls, pools: Collection[Pool] = ()) -> None:
        self._call = calls.call
        self._pools = {pool.name: pool for pool in pools}
        self._sizes = {pool.name: pool.dyno_size for pool in pools if pool.dyno_size}
        self._trouble = LogThrottle(logger)

    def listed(self, pools: Collection[str], deadline: float) -> dict[str, Listing]:
        def look(app: App) -> dict[str, Listing]:
            types, dynos = process_types(app), list(app.dynos())
            newest = max((_release(dyno) for dyno in dynos), default=0)
            one_offs = [d for d in dynos if d.type == "run" and d.state in RUNNING]
            self._learn_sizes(types)
            return {pool: _listing(pool, types.get(pool), one_offs, newest) for pool in pools}

        return self._call(look, deadline)

    def hire(
        self, hires: Mapping[str, Collection[str]], deadline: float
    ) -> dict[str, OneOff | PlatformError]:
        todo = deque((pool, hire) for pool, ids in hires.items() for hire in ids)
        outcomes: dict[str, OneOff | PlatformError] = {}

        def work_off() -> None:
            while True:
                try:
                    pool, hire = todo.popleft()
                except IndexError:
                    return
                outcomes[hire] = self._hire(pool, hire, deadline)

        helpers: list[threading.Thread] = []
        # No thread can be started while the interpreter shuts down. Then this thread does it all.
        with suppress(RuntimeError):
            for _ in range(min(len(todo), AT_ONCE) - 1):
                helpers.append(threads.start("mm-hire", work_off))
        work_off()
        for helper in helpers:
            helper.join()
        return outcomes

    def stop(self, worker: str, deadline: float) -> None:
        def stop(app: App) -> None:
            path = ("apps", app.name, "dynos", quote(worker, safe=""), "actions", "stop")
            _client(app)._http_resource(method="POST", resource=path)

        self._call(stop, deadline)

    def _hire(self, pool: str, hire: str, deadline: float) -> OneOff | PlatformError:
        order: dict[str, Any] = {
            "command": pool,
            "attach": False,
            "time_to_live": int(LIFETIME),
            "env": {POOL_VARIABLE: pool, HIRE_VARIABLE: hire},
        }
        if size := self._sizes.get(pool):
            order["size"] = size

        def start(app: App) -> OneOff:
            client = _client(app)
            answer = client._http_resource(
                method="POST",
                resource=("apps", app.name, "dynos"),
                data=client._resource_serialize(order),
            )
            dyno = Dyno.new_from_dict(client._resource_deserialize(answer.text), h=client, app=app)
            return _one_off(dyno)

        try:
            return self._call(start, deadline)
        except PlatformError as error:
            return error

    def _learn_sizes(self, types: Mapping[str, ProcessType]) -> None:
        """Take the size of a pool without one from its process type; warn of too many workers."""
        for name, pool in self._pools.items():
            if pool.dyno_size is None and name in types:
                self._sizes[name] = types[name].size
            size = self._sizes.get(name)
            maximum = pool.widest.max_workers
            if pool.one_off and size and maximum > most_one_offs(size):
                self._trouble.warn(
                    f"limit {name}",
                    "pool %s may have %d workers, but Heroku runs at most %d one-off dynos of size "
                    "%s at once",
                    name,
                    maximum,
                    most_one_offs(size),
                    size,
                )


def process_types(app: App) -> dict[str, ProcessType]:
    """Return every process type of the app, by name."""
    return {
        str(p.type): ProcessType(int(p.quantity), str(p.size), str(p.command))
        for p in app.process_formation()
    }


def _listing(pool: str, its: ProcessType | None, dynos: Iterable[Any], newest: int) -> Listing:
    """Tell which *dynos* run the command of the pool's process type.

    A deploy may have changed the command since a dyno was started: then it is among the others.
    """
    commands = {pool, its.command} if its else {pool}
    workers: list[OneOff] = []
    others: list[OneOff] = []
    for dyno in dynos:
        (workers if dyno.command in commands else others).append(_one_off(dyno))
    return Listing(tuple(workers), newest, tuple(others))


def _one_off(dyno: Any) -> OneOff:
    if not dyno.name or not dyno.id:
        raise ValueError("a dyno without a name or an id")
    return OneOff(str(dyno.name), str(dyno.id), _release(dyno))


def _release(dyno: Any) -> int:
    return int(dyno.release.version) if dyno.release and dyno.release.version else 0


def _client(app: App) -> Any:
    client: Any = app._h
    return client
