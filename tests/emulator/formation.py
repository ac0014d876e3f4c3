"""The process types of an app, the dynos that the platform keeps running, and one-off dynos."""

from __future__ import annotations

import logging
import random
import shlex
import signal
import string
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from .dyno import Dyno, DynoInfo, Launcher, Reason
from .one_offs import Full, Order

logger = logging.getLogger(__name__)

DynoNames = Literal["cedar", "fir"]
By = Literal["api", "hand"]

TICK = 0.02  # s
EXIT_GRACE = 2.0  # s between SIGTERM and SIGKILL when the emulator itself ends


@dataclass(frozen=True)
class Change:
    """A change of a quantity. ``at`` is monotonic, ``at_wall`` is in seconds since the epoch."""

    at: float
    at_wall: float
    process_type: str
    before: int
    after: int
    by: By


@dataclass(frozen=True)
class Stop:
    """A dyno that was stopped on purpose, recorded when it is gone. Times are monotonic.

    When the emulator ends, only one-off dynos are recorded, including those being stopped then.
    """

    at: float
    asked_at: float
    name: str
    id: str
    reason: Reason
    sigkilled: bool  #: its first process was still there ``kill_after`` seconds after SIGTERM


class Formation:
    """The dynos of an app. Thread-safe; its own thread moves each dyno through its life.

    Attributes:
        shown: by process type, a command to show instead of its own.
        one_off_limit: the most one-off dynos of each size class; None: Heroku's rules.
    """

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
        self.shown: dict[str, str] = {}
        self.release = 1
        self.one_off_limit: int | None = None
        self.most_one_offs = 0
        self.dyno_names = dyno_names
        self._quantities = dict(process_types)
        self._launcher = launcher
        self._boot_delay = boot_delay
        self._kill_after = kill_after
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
        """End every process: SIGTERM, a short wait, SIGKILL."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            for dyno in self._dynos:
                if dyno.one_off and dyno.state != "stopping" and not dyno.ended_by_itself:
                    dyno.stop("end", time.monotonic(), EXIT_GRACE)
                else:
                    dyno.signal(signal.SIGTERM)
            give_up = time.monotonic() + EXIT_GRACE
            while time.monotonic() < give_up and not all(dyno.exited for dyno in self._dynos):
                time.sleep(TICK)
            for dyno in self._dynos:
                dyno.sigkilled |= not dyno.exited
                self._launcher.over(dyno)
                if dyno.one_off and dyno.state == "stopping":
                    self.stops.append(_stop(dyno, time.monotonic()))
            self._dynos.clear()
        self._launcher.close()

    def quantities(self) -> dict[str, int]:
        with self._lock:
            return dict(self._quantities)

    def scale(self, quantities: Mapping[str, int], by: By) -> None:
        """Set quantities. Raises KeyError, and changes nothing, if a type does not exist."""
        with self._lock:
            before = {process_type: self._quantities[process_type] for process_type in quantities}
            for process_type, after in quantities.items():
                self._note(process_type, before[process_type], after, by)
                self._quantities[process_type] = after
                self._fill(process_type, "scale" if by == "api" else "hand")

    def remove(self, process_type: str) -> None:
        """Remove a type and stop its dynos, as a deploy without it does. Raises KeyError."""
        with self._lock:
            self._note(process_type, self._quantities.pop(process_type), 0)
            for dyno in self._running(process_type):
                dyno.stop("restart", time.monotonic(), self._kill_after)

    def add(self, process_type: str) -> None:
        """Add a type without dynos, as a deploy with a new process type does."""
        with self._lock:
            self._quantities.setdefault(process_type, 0)

    def dynos(self) -> list[DynoInfo]:
        """All dynos, including those being stopped, which Heroku's list leaves out."""
        with self._lock:
            ordered = sorted(self._dynos, key=lambda dyno: (dyno.type, dyno.number))
            return [dyno.info() for dyno in ordered]

    def restart(self, ids: Iterable[str], reason: Reason) -> None:
        """Stop dynos and start others in their places, without waiting for the old ones to end.

        One-off dynos stay as they are.
        """
        wanted = set(ids)
        with self._lock:
            for dyno in [d for d in self._running() if d.id in wanted]:
                dyno.stop(reason, time.monotonic(), self._kill_after)
                self._add(dyno.type, dyno.number, self._boot_delay)

    def deploy(self) -> None:
        with self._lock:
            self.release += 1
            self.restart([dyno.id for dyno in self._dynos], "restart")

    def definition(self, process_type: str) -> str:
        """The command of that type, as the API shows it."""
        own = " ".join(self._launcher.commands.get(process_type, []))
        return self.shown.get(process_type) or own

    def run(self, order: Order, copies: int = 1) -> DynoInfo:
        """Start *copies* of a one-off dyno, possibly none; returns the first. Raises Full."""
        with self._lock:
            limit = order.limit if self.one_off_limit is None else self.one_off_limit
            orders = [dyno.order for dyno in self._dynos if dyno.order]
            if sum(other.limit == order.limit for other in orders) >= limit:
                raise Full(limit)
            first = self._one_off(order)
            if copies:
                self._dynos.append(first)
            for _ in range(1, copies):
                self._dynos.append(self._one_off(order))
            self.most_one_offs = max(self.most_one_offs, len(orders) + copies)
            return first.info()

    def stop(self, ids: Iterable[str]) -> None:
        """Stop dynos. Those of the formation come back once they have gone, as after a crash."""
        wanted = set(ids)
        with self._lock:
            for dyno in [d for d in self._dynos if d.id in wanted and d.state != "stopping"]:
                reason: Reason = "api" if dyno.one_off else "hand"
                dyno.stop(reason, time.monotonic(), self._kill_after)
                dyno.comes_back = not dyno.one_off

    def forget_most(self) -> None:
        with self._lock:
            self.most_one_offs = sum(dyno.one_off for dyno in self._dynos)

    def kill(self, name: str) -> None:
        """Crash a dyno. Raises KeyError if no process runs under that name."""
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
        """Start the lowest missing numbers, or stop the highest surplus ones."""
        dynos = self._running(process_type)
        taken = {dyno.number for dyno in dynos}
        quantity = self._quantities[process_type]
        free = [number for number in range(1, quantity + 1) if number not in taken]
        for number in free[: max(0, quantity - len(dynos))]:
            self._add(process_type, number, self._boot_delay)
        if self.dyno_names == "fir":
            random.shuffle(dynos)
        else:
            dynos.sort(key=lambda dyno: dyno.number)
        for dyno in dynos[quantity:]:
            dyno.stop(reason, time.monotonic(), self._kill_after)

    def _running(self, process_type: str | None = None) -> list[Dyno]:
        """The formation's dynos that will stay, of one type or of all."""
        return [
            dyno
            for dyno in self._dynos
            if not dyno.one_off
            and (dyno.state != "stopping" or dyno.comes_back)
            and process_type in (None, dyno.type)
        ]

    def _add(self, process_type: str, number: int, delay: float) -> None:
        self._dynos.append(
            Dyno(
                name=self._name(process_type, number),
                type=process_type,
                number=number,
                release=self.release,
                command=self.definition(process_type),
                argv=self._launcher.commands.get(process_type),
                next_at=time.monotonic() + delay,
            )
        )

    def _one_off(self, order: Order) -> Dyno:
        now = time.monotonic()
        taken = {dyno.number for dyno in self._dynos if dyno.one_off}
        number = random.choice([n for n in range(1000, 10_000) if n not in taken])
        is_type = order.command in self._quantities
        return Dyno(
            name=self._name(order.type, number),
            type=order.type,
            number=number,
            release=self.release,
            command=self.definition(order.command) if is_type else order.command,
            argv=self._launcher.commands.get(order.command) if is_type else _split(order.command),
            next_at=now + self._boot_delay,
            order=order,
            ends_at=now + order.time_to_live,
        )

    def _name(self, process_type: str, number: int) -> str:
        if self.dyno_names == "cedar":
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
        elif dyno.ended_by_itself:
            self._crash(dyno, now)
        elif dyno.state in ("starting", "up") and now >= dyno.ends_at:
            dyno.stop("time_to_live", now, self._kill_after)
        elif dyno.state == "crashed" and now >= dyno.next_at:
            self._dynos.remove(dyno)
            self._add(dyno.type, dyno.number, self._boot_delay / 2)
        elif dyno.state == "stopping":
            self._see_off(dyno, now)

    def _boot(self, dyno: Dyno, now: float) -> None:
        try:
            dyno.process = self._launcher.start(dyno)
            dyno.state = "up"
        except (OSError, ValueError):  # ValueError: text that cannot be passed to a process
            logger.exception("%s cannot be started", dyno.name)
            self._crash(dyno, now)

    def _crash(self, dyno: Dyno, now: float) -> None:
        """Note that its command has ended, in any way: a one-off dyno is then done."""
        self._launcher.over(dyno)
        dyno.process = None
        dyno.comes_back = dyno.sigkilled = False
        if dyno.one_off:
            self._dynos.remove(dyno)
            return
        dyno.state = "crashed"
        dyno.next_at = now + self._boot_delay / 2

    def _see_off(self, dyno: Dyno, now: float) -> None:
        if dyno.exited:
            stop = _stop(dyno, now)
            if dyno.comes_back:
                self._crash(dyno, now)
            else:
                self._launcher.over(dyno)
                self._dynos.remove(dyno)
            self.stops.append(stop)
        elif now >= dyno.kill_at:
            dyno.kill()


def _stop(dyno: Dyno, now: float) -> Stop:
    assert dyno.reason is not None
    return Stop(now, dyno.asked_at, dyno.name, dyno.id, dyno.reason, dyno.sigkilled)


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # an unclosed quote: the dyno starts, and its shell reports the error
        return ["/bin/sh", "-c", command]
