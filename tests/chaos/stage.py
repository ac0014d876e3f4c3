"""All that takes part in one run: servers, emulator, publishers, and the journal they share."""

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

from celery_middle_management.platforms.dyno import kill_group, start_on_leash
from celery_middle_management.redis_server import RedisServer
from tests.emulator import HerokuEmulator

from .brokers import BROKERS, client
from .journal import Journal

ROOT = Path(__file__).parent.parent.parent
#: The queue of each pool, and its maximum.
QUEUES = {"worker": "celery", "pdf": "pdf"}
MAXIMA = {"worker": 6, "pdf": 3}
#: The plain publishers', which nobody consumes.
PLAIN_QUEUE = "plain"
#: Between two counts at most, in call intervals.
COUNT_INTERVAL = 6.0
#: Errors that we have caught, and that should never have been.
FAILURES = (
    "an evaluation failed",
    "a publisher could not report",
    "a worker could not report",
)
PUBLISHERS = 2  # of each sort
# Every sort of worker of one queue, by the number of its process.
WORKER = """
export MIDDLE_MANAGEMENT_HEROKU_API_URL="$(cat "$CHAOS_URL")"
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
    """What a run is made of."""

    seed: int
    #: A name in :data:`BROKERS`.
    broker: str = "redis"
    #: The generation of Heroku's dynos, ``cedar`` or ``fir``.
    dynos: Any = "cedar"
    #: Seconds; the default makes more happen in the same time than the package's own would.
    call_interval: float = 2.0


class Publisher:
    """A publisher process, started again when it was killed."""

    def __init__(self, seed: str, env: dict[str, str], log: Path) -> None:
        self._seed = seed
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
        command = [sys.executable, "-m", "tests.chaos.publisher", "--seed", seed]
        with self._log.open("ab") as log:
            return start_on_leash(command, log, self._env, ROOT)


class Stage:
    """A context: what it started has ended when it is left, and also if this process is killed."""

    def __init__(self, directory: Path, options: Options) -> None:
        choose = random.Random(f"stage-{options.seed}")
        self.directory = directory
        self.options = options
        self.seed = options.seed
        #: Of every pool alike.
        self.minimum = choose.choice([0, 0, 1])
        #: One Redis for both, as most users have it; it is never flushed then.
        self.shared = choose.random() < 0.3 and options.broker == "redis"
        self.pools = list(QUEUES) if choose.random() < 0.5 else ["worker"]
        self.journal_path = directory / "journal"
        self.journal = Journal(self.journal_path)
        self.publishers: list[Publisher] = []
        self.plain_publishers: list[Publisher] = []
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
        self.ledger = own if isinstance(own, RedisServer) else enter(RedisServer())
        self.emulator = enter(self._emulator())
        self.ledger_client = enter(client(self.ledger.url))
        self._note_settings()
        for number in range(PUBLISHERS):
            self._publish(f"publisher-{self.seed}-{number}", {})
            self._publish(
                f"plain-{self.seed}-{number}", {"MM_OFF": "1", "CHAOS_QUEUES": PLAIN_QUEUE}
            )

    def _emulator(self) -> HerokuEmulator:
        # Its dynos need its address, which is known once it is there.
        env = self._environment()
        emulator = HerokuEmulator(
            process_types={"web": 1, **dict.fromkeys(self.pools, self.minimum)},
            command={p: ["/bin/sh", "-c", WORKER, "worker", QUEUES[p]] for p in self.pools},
            env=env,
            cwd=ROOT,
            dyno_names=self.options.dynos,
            log_dir=self.directory / "dynos",
        )
        (self.directory / "url").write_text(emulator.url)
        return emulator

    def _environment(self) -> dict[str, str]:
        return {
            "PYTHON": sys.executable,
            "BROKER_URL": self.broker.server.url,
            "CHAOS_JOURNAL": str(self.journal_path),
            "CHAOS_TRANSPORT_OPTIONS": json.dumps(self.broker.transport_options),
            "CHAOS_QUEUES": " ".join(QUEUES[pool] for pool in self.pools),
            "CHAOS_URL": str(self.directory / "url"),
            "MIDDLE_MANAGEMENT_HEROKU_APP": "myapp",
            "MIDDLE_MANAGEMENT_HEROKU_API_KEY": "emulated-key",
            "MIDDLE_MANAGEMENT_REDIS_URL": self.ledger.url,
            "MIDDLE_MANAGEMENT_MIN_WORKERS": str(self.minimum),
            "MIDDLE_MANAGEMENT_POOLS": json.dumps(
                {p: {"queues": [QUEUES[p]], "max_workers": MAXIMA[p]} for p in self.pools}
            ),
            "MIDDLE_MANAGEMENT_JOBS_PER_WORKER": "4",
            "MIDDLE_MANAGEMENT_CALL_INTERVAL": str(self.options.call_interval),
            "MIDDLE_MANAGEMENT_COUNT_INTERVAL": str(COUNT_INTERVAL * self.options.call_interval),
        }

    def _note_settings(self) -> None:
        self.journal.write(
            "settings",
            **asdict(self.options),
            minimum=self.minimum,
            maxima={pool: MAXIMA[pool] for pool in self.pools},
            shared=self.shared,
            visibility_timeout=self.broker.visibility_timeout,
        )

    def _publish(self, seed: str, more: dict[str, str]) -> None:
        env = {**self._environment(), "MIDDLE_MANAGEMENT_HEROKU_API_URL": self.emulator.url, **more}
        publisher = Publisher(seed, env, self.directory / f"{seed}.log")
        self._exits.callback(publisher.stop)
        (self.plain_publishers if more else self.publishers).append(publisher)

    # -- load

    def load(self, sort: str) -> None:
        """Let the publishers publish ``short`` or ``mixed`` tasks, or with an empty *sort* none."""
        if sort:
            draft = self.directory / "draft"
            draft.write_text(sort)
            draft.rename(self.directory / "load")
        else:
            (self.directory / "load").unlink(missing_ok=True)

    # -- what is going on

    def at_minimum(self) -> bool:
        """Whether every pool is."""
        quantities = self.emulator.quantities()
        return all(quantities[pool] == self.minimum for pool in self.pools)

    def worker_pids(self) -> dict[int, str]:
        """The first process of each dyno that is up, with its name."""
        return {
            dyno.pid: dyno.name
            for dyno in self.emulator.dynos()
            if dyno.type in self.pools and dyno.state == "up" and dyno.pid is not None
        }

    def lock(self) -> tuple[str, int] | None:
        """The token and the process of the scaler at this moment, if there is one."""
        try:
            token = self.ledger_client.get(self.key("lock"))
            known, pid = (self.directory / "scaler").read_text().split()
        except (redis.RedisError, OSError, ValueError):
            return None
        return (known, int(pid)) if token == known else None

    def evaluated_at(self) -> float:
        """When (Unix time, s) the last evaluation that came to its end began; 0: unknown."""
        try:
            at: Any = self.ledger_client.hget(self.key("state"), "evaluated_at")
        except redis.RedisError:
            return 0.0
        return float(at or 0) / 1000

    def key(self, name: str) -> str:
        return f"{{middle-management:myapp}}:{name}"

    # -- records

    def record_platform(self) -> None:
        """Write down what the emulator saw."""
        offset = time.time() - time.monotonic()
        emulator, write = self.emulator, self.journal.write
        for change in list(emulator.changes):
            if change.process_type in self.pools:
                write("change", at=change.at_wall, pool=change.process_type,
                      before=change.before, after=change.after, by=change.by)  # fmt: skip
        for request in list(emulator.requests):
            write("request", at=request.at_wall, method=request.method, path=request.path,
                  body=request.body, status=request.status)  # fmt: skip
        for stop in list(emulator.stops):
            if stop.name.startswith(tuple(self.pools)):
                write("stop", at=stop.at + offset, asked_at=stop.asked_at + offset, name=stop.name,
                      id=stop.id, reason=stop.reason, sigkilled=stop.sigkilled)  # fmt: skip

    def record_failures(self) -> None:
        """Write down where the logs tell of an error of ours that was caught."""
        for log in self.directory.rglob("*.log"):
            text = log.read_text(errors="replace")
            for message in FAILURES:
                if message in text:
                    trace = text[text.index(message) :].splitlines()[:60]
                    self.journal.write("failure", message=message, log=log.name, trace=trace)

    def record_keys(self) -> None:
        """Write down what the ledger's Redis holds, and how many workers could be in it."""
        live = len(self.worker_pids())
        c = self.ledger_client
        for key in c.scan_iter(count=1000):
            sort = str(c.type(key))
            sizes = {"hash": c.hlen, "list": c.llen}
            size = sizes[sort](key) if sort in sizes else 1
            self.journal.write("key", name=key, type=sort, ttl=c.ttl(key), size=size, live=live)
