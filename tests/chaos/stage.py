"""What takes part in one run: servers, emulator, publishers, and the journal they share."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import redis

from celery_middle_management.demo.redis_server import RedisServer
from celery_middle_management.platforms.base import HIRE_VARIABLE, POOL_VARIABLE
from celery_middle_management.platforms.local_dyno import kill_group, start_on_leash
from tests.emulator import DynoInfo, HerokuEmulator
from tests.redis_clock import RedisClock

from .brokers import BROKERS, client
from .journal import Journal
from .lines import Exchange

ROOT = Path(__file__).parent.parent.parent
#: The queue of each pool, and its maximum.
QUEUES = {"worker": "celery", "pdf": "pdf"}
MAXIMA = {"worker": 6, "pdf": 3}
#: The queue of the plain publishers, which no worker consumes.
PLAIN_QUEUE = "plain"
#: A pool whose process type does not exist, and for which no tasks are published.
GHOST = "ghost"
#: The longest time between two counts, in call intervals.
COUNT_INTERVAL = 6.0
JOBS_PER_WORKER = 4
PUBLISHERS = 2  # of each sort
PEOPLE = 2
#: A publisher with production's settings that does not run on a dyno.
LAPTOP = {"CHAOS_LAPTOP": "1", "MIDDLE_MANAGEMENT_OFF_PLATFORM": "false"}
# Kinds of worker for one queue, chosen by the number of the process.
WORKER = """
export MIDDLE_MANAGEMENT_HEROKU_API_URL="$(cat "$CHAOS_URL")"
if [ -e "$CHAOS_CRASH" ]; then echo "it cannot be imported"; exit 1; fi
queue=$1
case $(($$ % 5)) in
  0) set -- -P solo ;;
  1) set -- -P threads -c 2 --prefetch-multiplier 2 ;;
  2) set -- -P gevent -c 3 ;;
  3) set -- -P prefork -c 2 --prefetch-multiplier 2 ;;
  4) set -- -P prefork -c 1 ;;
esac
exec "$PYTHON" -m celery -A tests.chaos.app worker -Q "$queue" -n "$DYNO@%h" -l INFO \
  --without-gossip --without-mingle --without-heartbeat "$@"
"""


@dataclass(frozen=True)
class Options:
    """The options of a run."""

    seed: int
    #: A name in :data:`BROKERS`.
    broker: str = "redis"
    #: The generation of Heroku's dynos, ``cedar`` or ``fir``; or ``one-off``, of Cedar.
    dynos: Any = "cedar"
    #: Seconds; with the default, more happens in the same time than with the package's own default.
    call_interval: float = 2.0
    #: The longest wait (s) for the policy of that name; None for a number of jobs per worker.
    max_wait: float | None = None
    #: Kinds of trouble, as the report names them, that are left out.
    without: tuple[str, ...] = ()


class Publisher:
    """A publisher process, or a person's, which is restarted when it was killed."""

    def __init__(
        self, seed: str, env: dict[str, str], log: Path, program: str = "publisher"
    ) -> None:
        self._seed = seed
        self._program = program
        self._env = {**os.environ, **env}
        self._log = log
        self._lives = 0
        self.process = self._start()

    @property
    def pid(self) -> int:
        # The leash is a child of the session's first process, which became the publisher.
        return self.process.pid

    def ensure(self) -> None:
        if self.process.poll() is not None:
            kill_group(self.process)
            self.process = self._start()

    def stop(self, timeout: float = 10.0) -> None:
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout)
        kill_group(self.process)

    def _start(self) -> subprocess.Popen[bytes]:
        self._lives += 1
        seed = f"{self._seed}-{self._lives}"
        command = [sys.executable, "-m", f"tests.chaos.{self._program}", "--seed", seed]
        with self._log.open("ab") as log:
            return start_on_leash(command, log, self._env, ROOT)


class Stage:
    """A context. All that it started ends when it is left, or when this process is killed."""

    def __init__(self, directory: Path, options: Options) -> None:
        choose = random.Random(f"stage-{options.seed}")
        self.directory = directory
        self.options = options
        self.seed = options.seed
        #: The minimum of every pool.
        self.minimum = choose.choice([0, 0, 1])
        #: One Redis for broker and ledger, as most users have it; then it is never flushed.
        self.shared = choose.random() < 0.3 and options.broker == "redis"
        self.pools = list(QUEUES) if choose.random() < 0.5 else ["worker"]
        #: Whether one pool has no process type.
        self.ghost = choose.random() < 0.3 and "missing" not in options.without
        self.one_off = options.dynos == "one-off"
        #: Whether each process has several apps.
        self.several = choose.random() < 0.5 and "apps" not in options.without and not self.one_off
        # What other apps need is foretold by the number of jobs per worker.
        self.several = self.several and options.max_wait is None
        #: While this file exists, workers crash when they start.
        self.crash = directory / "crash"
        self.journal_path = directory / "journal"
        self.journal = Journal(self.journal_path)
        #: Until then (``monotonic()``) the load stays sparse.
        self.sparse_until = 0.0
        self.publishers: list[Publisher] = []
        self.plain_publishers: list[Publisher] = []
        #: Those who hire, fire and pause.
        self.people: list[Publisher] = []
        self._exits = contextlib.ExitStack()

    def __enter__(self) -> Stage:
        try:
            self._enter()
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exits.close()

    def _enter(self) -> None:
        enter = self._exits.enter_context
        self.broker = enter(BROKERS[self.options.broker]([QUEUES[pool] for pool in self.pools]))
        own = self.broker.server if self.shared else None
        #: None if the clock cannot be stepped.
        steps = RedisClock.available() and not self.shared
        self.clock = RedisClock(self.directory) if steps else None
        self.ledger = own if isinstance(own, RedisServer) else enter(self._ledger())
        #: None if the ledger shares the broker's Redis.
        self.lines = None if self.shared else enter(Exchange(self.ledger.port))
        #: None with RabbitMQ, where Celery notices by itself after four minutes.
        pulled = isinstance(self.broker.server, RedisServer)
        self.broker_lines = enter(Exchange(self.broker.server.port)) if pulled else None
        #: The broker and the platform of the other apps.
        self.elsewhere = enter(RedisServer()) if self.several else None
        self.second = enter(HerokuEmulator(app="secondapp")) if self.several else None
        self.emulator = enter(self._emulator())
        self.ledger_client = enter(client(self.ledger.url))
        self._note_settings()
        for number in range(PUBLISHERS):
            self._publish(f"publisher-{self.seed}-{number}", {})
            self._publish(
                f"plain-{self.seed}-{number}", {"MM_OFF": "1", "CHAOS_QUEUES": PLAIN_QUEUE}
            )
        if "laptop" not in self.options.without:
            self._publish(f"laptop-{self.seed}", LAPTOP)
        for number in range(0 if "people" in self.options.without else PEOPLE):
            self._invite(f"person-{self.seed}-{number}")

    def _ledger(self) -> RedisServer:
        return self.clock.server() if self.clock else RedisServer()

    def _emulator(self) -> HerokuEmulator:
        # Its dynos need its address, which is known only once it runs.
        env = self._environment()
        emulator = HerokuEmulator(
            process_types={
                "web": 1,
                **dict.fromkeys(self.pools, 0 if self.one_off else self.minimum),
            },
            command={p: ["/bin/sh", "-c", WORKER, "worker", QUEUES[p]] for p in self.pools},
            env=env,
            cwd=ROOT,
            dyno_names="cedar" if self.one_off else self.options.dynos,
            log_dir=self.directory / "dynos",
        )
        (self.directory / "url").write_text(emulator.url)
        return emulator

    def _environment(self) -> dict[str, str]:
        pools = {p: {"queues": [QUEUES[p]], "max_workers": MAXIMA[p]} for p in self.pools}
        if self.ghost:
            pools[GHOST] = {"queues": [GHOST], "max_workers": 1, "min_workers": 1}
        more = {}
        if self.lines:
            more["CHAOS_LINES"] = self.lines.url
        if self.broker_lines:
            more["CHAOS_BROKER_LINES"] = self.broker_lines.url
        if self.second and self.elsewhere:
            more["CHAOS_SECOND_URL"] = self.second.url
            more["CHAOS_ELSEWHERE"] = self.elsewhere.url
        return {
            **more,
            "PYTHON": sys.executable,
            # Not ``BROKER_URL``, which Celery's command line makes every app of a process use.
            "CHAOS_BROKER": self.broker.server.url,
            "CHAOS_JOURNAL": str(self.journal_path),
            "CHAOS_TRANSPORT_OPTIONS": json.dumps(self.broker.transport_options),
            "CHAOS_QUEUES": " ".join(QUEUES[pool] for pool in self.pools),
            "CHAOS_URL": str(self.directory / "url"),
            "CHAOS_CRASH": str(self.crash),
            "MIDDLE_MANAGEMENT_HEROKU_APP": "myapp",
            "MIDDLE_MANAGEMENT_OFF_PLATFORM": "true",
            "MIDDLE_MANAGEMENT_HEROKU_API_KEY": "emulated-key",
            "MIDDLE_MANAGEMENT_REDIS_URL": self.ledger.url,
            "MIDDLE_MANAGEMENT_MIN_WORKERS": str(self.minimum),
            "MIDDLE_MANAGEMENT_POOLS": json.dumps(pools),
            "MIDDLE_MANAGEMENT_DYNOS": "one-off" if self.one_off else "formation",
            **self._policy(),
            "MIDDLE_MANAGEMENT_CALL_INTERVAL": str(self.options.call_interval),
            "MIDDLE_MANAGEMENT_COUNT_INTERVAL": str(COUNT_INTERVAL * self.options.call_interval),
        }

    def _policy(self) -> dict[str, str]:
        if self.options.max_wait is not None:
            return {"MIDDLE_MANAGEMENT_MAX_WAIT": str(self.options.max_wait)}
        return {"MIDDLE_MANAGEMENT_JOBS_PER_WORKER": str(JOBS_PER_WORKER)}

    def _note_settings(self) -> None:
        self.journal.write(
            "settings",
            **asdict(self.options),
            minimum=self.minimum,
            maxima={**{p: MAXIMA[p] for p in self.pools}, **({GHOST: 1} if self.ghost else {})},
            types=self.pools,
            jobs_per_worker=JOBS_PER_WORKER,
            shared=self.shared,
            ghost=self.ghost,
            people="people" not in self.options.without,
            several=self.several,
            steps=self.clock is not None,
            visibility_timeout=self.broker.visibility_timeout,
        )

    def _publish(self, seed: str, more: dict[str, str]) -> None:
        env = {**self._environment(), "MIDDLE_MANAGEMENT_HEROKU_API_URL": self.emulator.url, **more}
        publisher = Publisher(seed, env, self.directory / f"{seed}.log")
        self._exits.callback(publisher.stop)
        (self.plain_publishers if "MM_OFF" in more else self.publishers).append(publisher)

    def _invite(self, seed: str) -> None:
        env = {
            **self._environment(),
            "MIDDLE_MANAGEMENT_HEROKU_API_URL": self.emulator.url,
            "MIDDLE_MANAGEMENT_WEB_ACTIONS": "true",
        }
        person = Publisher(seed, env, self.directory / f"{seed}.log", "person")
        self._exits.callback(person.stop)
        self.people.append(person)

    # -- people

    def let_people_act(self, act: bool) -> None:
        """Let people hire, fire and pause from now on, or have them end what has no end."""
        allowed = self.directory / "people"
        if act and self.people:
            allowed.touch()
        else:
            allowed.unlink(missing_ok=True)

    # -- load

    def load(self, sort: str) -> None:
        """Let the publishers publish ``short`` or ``mixed`` tasks, or none with an empty *sort*."""
        if sort:
            draft = self.directory / "draft"
            draft.write_text(sort)
            draft.rename(self.directory / "load")
        else:
            (self.directory / "load").unlink(missing_ok=True)

    # -- what is going on

    def at_minimum(self) -> bool:
        """Return whether every pool is at its minimum."""
        quantities = self.emulator.quantities()
        if self.one_off:
            quantities = {pool: len(hires) for pool, hires in self.one_offs().items()}
        return all(quantities.get(pool) == self.minimum for pool in self.pools)

    def one_offs(self) -> dict[str, list[str]]:
        """The hires that one-off dynos belong to, by pool. Some may occur twice."""
        there: dict[str, list[str]] = {pool: [] for pool in self.pools}
        for dyno in self.emulator.dynos():
            if (pool := dyno.env.get(POOL_VARIABLE)) in there:
                there[str(pool)].append(dyno.env[HIRE_VARIABLE])
        return there

    def is_worker(self, dyno: DynoInfo) -> bool:
        return dyno.type in self.pools or dyno.env.get(POOL_VARIABLE) in self.pools

    def worker_pids(self) -> dict[int, str]:
        """The first process and the name of each dyno that is up."""
        return {
            dyno.pid: dyno.name
            for dyno in self.emulator.dynos()
            if self.is_worker(dyno) and dyno.state == "up" and dyno.pid is not None
        }

    def lock(self) -> tuple[str, int] | None:
        """The token and the process of the current scaler, if there is one."""
        try:
            token = self.ledger_client.get(self.key("lock"))
            known, pid = (self.directory / "scaler").read_text().split()
        except (redis.RedisError, OSError, ValueError):
            return None
        return (known, int(pid)) if token == known else None

    def evaluated_at(self) -> float:
        """When (Unix time, s) the last finished evaluation began; 0: unknown.

        If the clock has stepped since and the ledger has not noticed, it is wrong by that step.
        """
        try:
            # The second value: how far the ledger's time is ahead of Redis's clock.
            at, ahead = self.ledger_client.hmget(self.key("state"), ["evaluated_at", "clock"])
        except redis.RedisError:
            return 0.0
        stepped = self.clock.offset if self.clock else 0
        return (float(at) - float(ahead or 0)) / 1000 - stepped if at else 0.0

    def counts(self) -> set[str]:
        """The last count of each pool in the ledger; no two counts are equal."""
        names = [f"{pool}/count" for pool in self.pools]
        try:
            told = self.ledger_client.hmget(self.key("state"), names)
        except redis.RedisError:
            return set()
        return {f"{name} {count}" for name, count in zip(names, told, strict=True)}

    def line_pids(self) -> list[int]:
        """The processes that have a line to the ledger, except for the children of workers."""
        others = (*self.publishers, *self.people)
        return sorted([*self.worker_pids(), *(process.pid for process in others)])

    # -- other apps

    def clear_elsewhere(self) -> None:
        """Reset the other apps, as if they had never done anything."""
        if self.elsewhere and self.second:
            with client(self.elsewhere.url) as c:
                c.flushall()
            self.second.scale_by_hand("worker", 0)
            if keys := list(self.ledger_client.scan_iter("{middle-management:secondapp}:*")):
                self.ledger_client.delete(*keys)

    def probe(self, app: str, tasks: int) -> None:
        """Have a publisher publish this many tasks through another app."""
        draft = self.directory / "draft-probe"
        draft.write_text(f"{app} {tasks}")
        draft.rename(self.directory / "probe")

    def key(self, name: str) -> str:
        return f"{{middle-management:myapp}}:{name}"

    # -- records

    def record_platform(self) -> None:
        """Record what the emulator saw."""
        offset = time.time() - time.monotonic()
        emulator, write = self.emulator, self.journal.write
        for change in list(emulator.changes):
            if change.process_type in self.pools:
                write("change", at=change.at_wall, pool=change.process_type,
                      before=change.before, after=change.after, by=change.by)  # fmt: skip
        for request in list(emulator.requests):
            write("request", at=request.at_wall, method=request.method, path=request.path,
                  body=request.body, status=request.status, met=request.met,
                  done_at=request.done_at)  # fmt: skip
        for stop in list(emulator.stops):
            if stop.name.startswith(("run", *self.pools)) and stop.reason != "end":
                write("stop", at=stop.at + offset, asked_at=stop.asked_at + offset, name=stop.name,
                      id=stop.id, reason=stop.reason, sigkilled=stop.sigkilled)  # fmt: skip

    def record_keys(self) -> None:
        """Record what the ledger's Redis holds, and how many workers could be in it."""
        live = len(self.worker_pids())
        c = self.ledger_client
        for key in c.scan_iter(count=1000):
            sort, ttl = str(c.type(key)), c.ttl(key)
            sizes = {"hash": c.hlen, "stream": c.xlen}
            size = sizes[sort](key) if sort in sizes else 1
            if c.exists(key):  # it may be a lock that was given up since
                self.journal.write("key", name=key, type=sort, ttl=ttl, size=size, live=live)
