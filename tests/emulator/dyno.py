"""One dyno: a process in its own session, from its start to its end."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Literal

from .one_offs import Order

WARDEN = Path(__file__).with_name("warden.py")

#: A process reports itself to the warden, over its standard input, before it becomes the command.
#: So the command never runs without the warden knowing.
REPORT_AND_RUN = ["/bin/sh", "-c", 'echo "+$$" >&0; exec "$@" </dev/null', "sh"]

State = Literal["starting", "up", "crashed", "stopping"]
#: The last three apply to one-off dynos: stopped by the API, too old, and ended with the emulator.
Reason = Literal["scale", "restart", "hand", "api", "time_to_live", "end"]


def utcnow() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class DynoInfo:
    """A dyno as it was when looked at; ``pid`` is also its process group.

    ``release`` is the one that it was started with, ``command`` the one that the API shows. ``env``
    and ``size`` are those of the request for it, and empty for the formation's dynos.
    """

    id: str
    name: str
    type: str
    state: State
    pid: int | None
    created_at: datetime
    release: int
    command: str
    one_off: bool
    size: str
    env: Mapping[str, str] = field(hash=False)


@dataclass(eq=False)
class Dyno:
    """One life of a dyno; a restart makes another dyno of the same name. Times are monotonic."""

    name: str
    type: str
    number: int
    release: int
    command: str  #: as the API shows it
    argv: Sequence[str] | None  #: None runs nothing
    next_at: float  #: when it leaves the state "starting", or "crashed"
    order: Order | None = None  #: for one-off dynos
    ends_at: float = math.inf
    state: State = "starting"
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created_at: datetime = field(default_factory=utcnow)
    process: subprocess.Popen[bytes] | None = None
    reason: Reason | None = None
    asked_at: float = 0.0
    kill_at: float = 0.0
    sigkilled: bool = False
    comes_back: bool = False  #: after a stop, as after a crash

    def info(self) -> DynoInfo:
        return DynoInfo(
            id=self.id,
            name=self.name,
            type=self.type,
            state=self.state,
            pid=self.process.pid if self.process else None,
            created_at=self.created_at,
            release=self.release,
            command=self.command,
            one_off=self.one_off,
            size=self.order.size if self.order else "",
            env=dict(self.order.env) if self.order else {},
        )

    @property
    def one_off(self) -> bool:
        return self.order is not None

    @property
    def exited(self) -> bool:
        """True if there is no main process (any more); then the dyno is over."""
        return self.process is None or self.process.poll() is not None

    @property
    def ended_by_itself(self) -> bool:
        return self.state == "up" and self.process is not None and self.exited

    def signal(self, signum: int) -> None:
        """Send a signal to every process of the dyno, as Heroku does, not only to the first."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signum)

    def stop(self, reason: Reason, now: float, kill_after: float) -> None:
        if self.state == "stopping":  # it may be due to come back
            self.comes_back = False
            return
        self.state = "stopping"
        self.reason = reason
        self.asked_at = now
        self.kill_at = now + kill_after
        self.signal(signal.SIGTERM)

    def kill(self) -> None:
        self.sigkilled = True
        self.signal(signal.SIGKILL)


class Launcher:
    """Starts the processes of dynos, with a warden that lets none outlive us."""

    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        env: Mapping[str, str],
        cwd: str | os.PathLike[str] | None,
        log_dir: str | os.PathLike[str] | None,
    ) -> None:
        self.commands = commands
        self._env = env
        self._cwd = cwd
        self._log_dir = Path(log_dir) if log_dir is not None else None
        self._warden: subprocess.Popen[str] | None = None

    def start(self, dyno: Dyno) -> subprocess.Popen[bytes] | None:
        """Start the dyno's process; None if it has nothing to run.

        In the command, ``$DYNO`` and ``$PORT`` are replaced by the dyno's values.
        """
        if dyno.argv is None:
            return None
        if self._warden is None:
            self._warden = _start_warden()
        own = {"DYNO": dyno.name, "PORT": str(5000 + dyno.number)}
        command = list(dyno.argv)
        for name, value in own.items():
            command = [part.replace(f"${name}", value) for part in command]
        with self._log(dyno) as log:
            return subprocess.Popen(
                [*REPORT_AND_RUN, *command],
                env={**os.environ, **self._env, **(dyno.order.env if dyno.order else {}), **own},
                cwd=self._cwd,
                stdin=self._warden.stdin,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def over(self, dyno: Dyno) -> None:
        """End the others, as in a container, because the dyno's first process has ended."""
        if dyno.process is not None:
            dyno.signal(signal.SIGKILL)
            dyno.process.wait()
            assert self._warden is not None
            assert self._warden.stdin is not None
            print(f"-{dyno.process.pid}", file=self._warden.stdin, flush=True)

    def close(self) -> None:
        if self._warden is not None:
            self._warden.communicate()

    def _log(self, dyno: Dyno) -> IO[bytes]:
        if self._log_dir is None:
            return open(os.devnull, "wb")
        self._log_dir.mkdir(parents=True, exist_ok=True)
        return (self._log_dir / f"{dyno.name}.{dyno.id[:8]}.log").open("wb")


def _start_warden() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(WARDEN)],
        stdin=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
