"""A Redis server whose clock can be stepped, as NTP and failovers do.

Redis has no command for that: a small library, preloaded, adds an offset to what it reads. All that
Redis does by its clock follows, ``TIME`` and the expiry of keys alike. libfaketime would do the
same, but does not come up beside the memory allocator of Debian's Redis.
"""

from __future__ import annotations

import os
import shlex
import shutil
import struct
import subprocess
from pathlib import Path

from celery_middle_management.demo.redis_server import RedisServer, find_redis_server

SOURCE = Path(__file__).with_suffix(".c")
_OFFSET = struct.Struct("l")


class RedisClock:
    """The clock of one Redis server; *directory* is for its files."""

    def __init__(self, directory: Path) -> None:
        #: How far (s) it is ahead of this machine's; behind, if negative.
        self.offset = 0.0
        self._directory = directory
        self._file = directory / "clock"
        self._file.write_bytes(_OFFSET.pack(0))

    @staticmethod
    def available() -> bool:
        """Whether there is a compiler for it."""
        return shutil.which("cc") is not None

    def step(self, seconds: float) -> None:
        """Step it so far forth; back, if negative."""
        self.offset += seconds
        with self._file.open("r+b") as file:
            file.write(_OFFSET.pack(round(self.offset * 1e6)))

    def server(self) -> RedisServer:
        """A Redis server that lives by it."""
        binary = find_redis_server()
        if binary is None:
            return RedisServer()  # which says what is missing
        library, wrapped = self._directory / "clock.so", self._directory / "bin" / "redis-server"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, SOURCE], check=True)
        wrapped.parent.mkdir(exist_ok=True)
        preload = (
            f"LD_PRELOAD={shlex.quote(str(library))} REDIS_CLOCK={shlex.quote(str(self._file))}"
        )
        wrapped.write_text(f'#!/bin/sh\n{preload} exec {shlex.quote(binary)} "$@"\n')
        wrapped.chmod(0o755)
        path = os.environ["PATH"]
        os.environ["PATH"] = f"{wrapped.parent}{os.pathsep}{path}"
        try:
            return RedisServer()
        finally:
            os.environ["PATH"] = path
