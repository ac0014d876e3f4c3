"""The local platform for tests, which stop all of its workers at once."""

from __future__ import annotations

import time

from celery_middle_management.platforms.base import PlatformError
from celery_middle_management.platforms.local import LocalPlatform


class LocalWorkers(LocalPlatform):
    """The local platform, and a way to stop all of its workers."""

    def stop_all(self, deadline: float) -> None:
        """Stop every worker of the directory, of any pool, and wait until they are gone."""
        with self.files.locked(deadline):
            remaining = [process for _, process in self.files.processes()]
            for process in remaining:
                process.stop()
            for pool in self.files.quantities():
                self.files.set_quantity(pool, 0)
        while any(process.alive for process in remaining):
            if time.monotonic() >= deadline:
                raise PlatformError("workers are still stopping")
            time.sleep(0.05)
