"""The process types of an app, and the dynos that the platform keeps running for them."""

from __future__ import annotations

import logging
import random
import signal
import string
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from .dyno import Dyno, DynoInfo, Launcher, Reason

logger = logging.getLogger(__name__)

DynoNames = Literal["cedar", "fir"]
By = Literal["api", "hand"]

TICK = 0.02  # s
EXIT_GRACE = 2.0  # s between SIGTERM and SIGKILL when the emulator itself ends


@dataclass(frozen=True)
class Change:
    """A quantity that changed. ``at`` is monotonic, ``at_wall`` seconds since the epoch."""

    at: float
    at_wall: float
    process_type: str
    before: int
    after: int
    by: By


@dataclass(frozen=True)
class Stop:
    """A dyno that was stopped on purpose, written down when it is gone. Times are monotonic."""

    at: float
    asked_at: float
    name: str
    id: str
    reason: Reason
    sigkilled: bool  #: its first process had not gone ``kill_after`` seconds after SIGTERM


class Formation:
    """Thread-safe. One thread of its own moves each dyno through its life."""

    def __init__(
        self,
        process_types: Mapping[str, int],
        launcher: Launcher,
        *,
        boot_delay: float,
        kill_after: float,
        dyno_names: DynoNames,
    ) -> None:
        self.changes: list[Change] = []
        self.stops: list[Stop] = []
        self._quantities = dict(process_types)
        self._launcher = launcher
        self._boot_delay = boot_delay
        self._kill_after = kill_after
        self._dyno_names = dyno_names
        self._dynos: list[Dyno] = []
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="emulator-dynos", daemon=True)

    def start(self) -> None:
        with self._lock:
            for process_type in self._quantities:
                self._fill(process_type, "scale")
        self._thread.start()

    def close(self) -> None:
        """Ends every process: SIGTERM, a short wait, SIGKILL."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            for dyno in self._dynos:
                dyno.signal(signal.SIGTERM)
            give_up = time.monotonic() + EXIT_GRACE
            while time.monotonic() < give_up and not all(dyno.exited for dyno in self._dynos):
                time.sleep(TICK)
            for dyno in self._dynos:
                self._launcher.over(dyno)
            self._dynos.clear()
        self._launcher.close()

    def quantities(self) -> dict[str, int]:
        with self._lock:
            return dict(self._quantities)

    def scale(self, quantities: Mapping[str, int], by: By) -> None:
        """Raises KeyError, and changes nothing, if a process type does not exist."""
        with self._lock:
            before = {process_type: self._quantities[process_type] for process_type in quantities}
            for process_type, after in quantities.items():
                self._note(process_type, before[process_type], after, by)
                self._quantities[process_type] = after
                self._fill(process_type, "scale" if by == "api" else "hand")

    def remove(self, process_type: str) -> None:
        """As a deploy without that process type does: its dynos are stopped. Raises KeyError."""
        with self._lock:
            self._note(process_type, self._quantities.pop(process_type), 0)
            for dyno in [d for d in self._dynos if d.type == process_type]:
                if dyno.state != "stopping":
                    dyno.stop("restart", time.monotonic(), self._kill_after)

    def add(self, process_type: str) -> None:
        """As a deploy with a new process type does: it has no dynos yet."""
        with self._lock:
            self._quantities.setdefault(process_type, 0)

    def dynos(self) -> list[DynoInfo]:
        """Those being stopped too, which Heroku's list leaves out."""
        with self._lock:
            ordered = sorted(self._dynos, key=lambda dyno: (dyno.type, dyno.number))
            return [dyno.info() for dyno in ordered]

    def restart(self, ids: Iterable[str], reason: Reason) -> None:
        """Stops dynos and starts others in their places, without waiting for the old to end."""
        wanted = set(ids)
        with self._lock:
            for dyno in [d for d in self._dynos if d.id in wanted and d.state != "stopping"]:
                dyno.stop(reason, time.monotonic(), self._kill_after)
                self._add(dyno.type, dyno.number, self._boot_delay)

    def kill(self, name: str) -> None:
        """A crash. Raises KeyError if no process runs under that name."""
        with self._lock:
            running = [d for d in self._dynos if d.name == name and d.state == "up"]
            if not running:
                raise KeyError(name)
            for dyno in running:
                dyno.signal(signal.SIGKILL)

    def _note(self, process_type: str, before: int, after: int, by: By = "hand") -> None:
        if after != before:
            at = time.monotonic(), time.time()
            self.changes.append(Change(*at, process_type, before, after, by))

    def _fill(self, process_type: str, reason: Reason) -> None:
        """Start the lowest numbers missing, or stop the highest ones too many."""
        dynos = [d for d in self._dynos if d.type == process_type and d.state != "stopping"]
        taken = {dyno.number for dyno in dynos}
        quantity = self._quantities[process_type]
        free = [number for number in range(1, quantity + 1) if number not in taken]
        for number in free[: max(0, quantity - len(dynos))]:
            self._add(process_type, number, self._boot_delay)
        if self._dyno_names == "fir":
            random.shuffle(dynos)
        else:
            dynos.sort(key=lambda dyno: dyno.number)
        for dyno in dynos[quantity:]:
            dyno.stop(reason, time.monotonic(), self._kill_after)

    def _add(self, process_type: str, number: int, delay: float) -> None:
        self._dynos.append(
            Dyno(
                name=self._name(process_type, number),
                type=process_type,
                number=number,
                next_at=time.monotonic() + delay,
            )
        )

    def _name(self, process_type: str, number: int) -> str:
        if self._dyno_names == "cedar":
            return f"{process_type}.{number}"
        letters = random.choices(string.ascii_lowercase + string.digits, k=15)
        return f"{process_type}-{''.join(letters[:10])}-{''.join(letters[10:])}"

    def _run(self) -> None:
        while not self._closing.wait(TICK):
            with self._lock:
                for dyno in list(self._dynos):
                    self._tick(dyno, time.monotonic())

    def _tick(self, dyno: Dyno, now: float) -> None:
        if dyno.state == "starting" and now >= dyno.next_at:
            self._boot(dyno, now)
        elif dyno.state == "up" and dyno.process is not None and dyno.exited:
            self._crash(dyno, now)
        elif dyno.state == "crashed" and now >= dyno.next_at:
            self._dynos.remove(dyno)
            self._add(dyno.type, dyno.number, self._boot_delay / 2)
        elif dyno.state == "stopping":
            self._see_off(dyno, now)

    def _boot(self, dyno: Dyno, now: float) -> None:
        try:
            dyno.process = self._launcher.start(dyno)
            dyno.state = "up"
        except OSError:
            logger.exception("%s cannot be started", dyno.name)
            self._crash(dyno, now)

    def _crash(self, dyno: Dyno, now: float) -> None:
        self._launcher.over(dyno)
        dyno.process = None
        dyno.state = "crashed"
        dyno.next_at = now + self._boot_delay / 2

    def _see_off(self, dyno: Dyno, now: float) -> None:
        if dyno.exited:
            self._launcher.over(dyno)
            self._dynos.remove(dyno)
            assert dyno.reason is not None
            self.stops.append(
                Stop(now, dyno.asked_at, dyno.name, dyno.id, dyno.reason, dyno.sigkilled)
            )
        elif now >= dyno.kill_at:
            dyno.kill()
