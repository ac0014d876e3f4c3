"""An emulator of the Heroku Platform API whose dynos are processes of this machine.

    with HerokuEmulator(process_types={"worker": 0}, command=["celery", ...]) as emulator:
        ... emulator.url ...

From a shell: ``python -m tests.emulator --port 5001 worker=0 --command celery -A proj worker``.
"""

from __future__ import annotations

from .dyno import DynoInfo
from .emulator import HerokuEmulator
from .formation import Change, Stop
from .server import Request

__all__ = ["Change", "DynoInfo", "HerokuEmulator", "Request", "Stop"]
