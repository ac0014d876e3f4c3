"""The emulator's interface for tests."""

from __future__ import annotations

import hmac
import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from types import TracebackType

from .answers import Json
from .api import Api
from .dyno import DynoInfo, Launcher
from .faults import Fault, Faults, Kind
from .formation import Change, DynoNames, Formation, Stop
from .server import Request, Server

Commands = Sequence[str] | Mapping[str, Sequence[str]]


class HerokuEmulator:
    """A Heroku app on this machine, with the Platform API to scale it.

    Parameters:
        app: its name; any other is not found.
        api_key: the only accepted key; the attribute may be changed.
        process_types: each with its initial quantity.
        command: one per process type, or one for all but ``web``. ``$DYNO`` and ``$PORT`` are
            replaced by the dyno's values. Dynos of a type without a command run nothing.
        env: added to this process's environment; read again whenever a dyno starts.
        boot_delay: seconds between the order to start a dyno and its start.
        kill_after: seconds between SIGTERM and SIGKILL.
        cwd: the working directory of the dynos.
        dyno_names: ``cedar`` (``worker.1``) or ``fir`` (``worker-23z34x56y1-w78k9``).
        log_dir: where each dyno's output goes, as ``worker.1.<start of its id>.log``.
        port: 0 takes a free one.

    One-off dynos (``run.1234``) are requested over the API. If their command is the name of a
    process type, they run its command. The arguments about dynos above apply to them too.

    Attributes:
        requests, changes, stops: records, the oldest first.
        rate_limit_remaining, page_size, app_limit: see Api.
    """

    def __init__(
        self,
        *,
        app: str = "myapp",
        api_key: str = "emulated-key",
        process_types: Mapping[str, int] | None = None,
        command: Commands | None = None,
        env: Mapping[str, str] | None = None,
        boot_delay: float = 0.3,
        kill_after: float = 30.0,
        cwd: str | os.PathLike[str] | None = None,
        dyno_names: DynoNames = "cedar",
        log_dir: str | os.PathLike[str] | None = None,
        port: int = 0,
    ) -> None:
        self.app = app
        self.api_key = api_key
        types = {"web": 1, "worker": 0} if process_types is None else process_types
        commands = _commands(command, types)
        self._formation = Formation(
            types,
            Launcher(commands, env or {}, cwd, log_dir),
            boot_delay=boot_delay,
            kill_after=kill_after,
            dyno_names=dyno_names,
        )
        self._api = Api(app, self._formation)
        self._faults = Faults()
        self._server = Server(port, self._api, self._faults, self._accepts)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="emulator-http", daemon=True
        )
        self.requests: list[Request] = self._server.requests
        self.changes: list[Change] = self._formation.changes
        self.stops: list[Stop] = self._formation.stops

    def __enter__(self) -> HerokuEmulator:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        self._formation.start()
        self._thread.start()

    def close(self) -> None:
        """End every thread and process of the emulator."""
        try:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
        finally:
            self._formation.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def rate_limit_remaining(self) -> int:
        return self._api.rate_limit_remaining

    @rate_limit_remaining.setter
    def rate_limit_remaining(self, remaining: int) -> None:
        self._api.rate_limit_remaining = remaining

    @property
    def page_size(self) -> int:
        return self._api.page_size

    @page_size.setter
    def page_size(self, size: int) -> None:
        self._api.page_size = size

    @property
    def size(self) -> str:
        """The size of every dyno, except one-off dynos requested with another size."""
        return self._api.size

    @size.setter
    def size(self, size: str) -> None:
        self._api.size = size

    @property
    def costs(self) -> dict[str, Json | None]:
        """The cost of each size, as ``/dyno-sizes`` has it."""
        return self._api.costs

    @property
    def app_limit(self) -> int:
        return self._api.app_limit

    @app_limit.setter
    def app_limit(self, most: int) -> None:
        self._api.app_limit = most

    @property
    def one_off_limit(self) -> int | None:
        """The most one-off dynos of one size class; None: Heroku's own limit."""
        return self._formation.one_off_limit

    @one_off_limit.setter
    def one_off_limit(self, most: int | None) -> None:
        self._formation.one_off_limit = most

    @property
    def most_one_offs(self) -> int:
        """The most one-off dynos there have been at one time, including those being stopped."""
        return self._formation.most_one_offs

    def forget_most(self) -> None:
        """Reset that maximum to the current number."""
        self._formation.forget_most()

    @property
    def release(self) -> int:
        """The number of the current release."""
        return self._formation.release

    def limit(self, process_type: str, most: int | None) -> None:
        """Limit that type to *most* dynos from now on; None: no limit."""
        if most is None:
            self._api.limits.pop(process_type, None)
        else:
            self._api.limits[process_type] = most

    def show_command(self, process_type: str, command: str) -> None:
        """Set the command that the API shows for that type, whatever its dynos run."""
        self._formation.shown[process_type] = command

    def remove_type(self, process_type: str) -> None:
        """Remove a process type, as a deploy without it does. Raises KeyError."""
        self._formation.remove(process_type)

    def add_type(self, process_type: str) -> None:
        """Add a process type without dynos, as a deploy with it does."""
        self._formation.add(process_type)

    @property
    def pending(self) -> int:
        """The number of requests that will still be carried out, though they got no good answer."""
        return self._server.pending

    def fault(
        self,
        kind: Kind = "status",
        *,
        status: int = 500,
        count: int | None = None,
        seconds: float | Callable[[], float] = 0.0,
        retry_after: float | str | None = None,
        methods: Collection[str] | None = None,
        lasting: float | None = None,
    ) -> None:
        """Cause trouble from now on; see Fault. ``lasting``: seconds; None: until cleared."""
        until = math.inf if lasting is None else time.monotonic() + lasting
        self._faults.add(Fault(kind, status, count, seconds, retry_after, methods, until))

    def clear_faults(self) -> None:
        self._faults.clear()

    def quantities(self) -> dict[str, int]:
        return self._formation.quantities()

    def dynos(self) -> list[DynoInfo]:
        """All dynos, including one-off dynos and those being stopped."""
        return self._formation.dynos()

    def scale_by_hand(self, process_type: str, quantity: int) -> None:
        """Scale as ``heroku ps:scale`` does. Raises KeyError."""
        self._formation.scale({process_type: quantity}, by="hand")

    def restart_all(self) -> None:
        """Restart as a deploy does: for a while each name has two dynos. One-off dynos stay."""
        self._formation.restart([dyno.id for dyno in self.dynos()], "restart")

    def deploy(self) -> None:
        """Make a new release and restart all dynos with it; one-off dynos keep theirs."""
        self._formation.deploy()

    def kill_dyno(self, name: str) -> None:
        """Kill all processes of a dyno with SIGKILL. Raises KeyError.

        It comes back as a crashed dyno does, unless it is a one-off dyno.
        """
        self._formation.kill(name)

    def _accepts(self, key: str) -> bool:
        return hmac.compare_digest(key.encode(), self.api_key.encode())


def _commands(command: Commands | None, types: Mapping[str, int]) -> dict[str, list[str]]:
    if command is None:
        return {}
    if not isinstance(command, Mapping):
        command = {process_type: command for process_type in types if process_type != "web"}
    for process_type, parts in command.items():
        if shutil.which(parts[0]) is None:
            raise ValueError(f"the command of {process_type!r} is not there: {parts[0]!r}")
    return {process_type: list(parts) for process_type, parts in command.items()}
