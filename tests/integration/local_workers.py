"""The local platform's workers, which a test stops all at once."""

from __future__ import annotations

import time

from celery_middle_management.platforms.base import PlatformError
from celery_middle_management.platforms.local import LocalPlatform


class LocalWorkers(LocalPlatform):
    """The platform itself."""

    def stop_all(self, deadline: float) -> None:
        """Stop every worker of the directory, of whatever pool, and wait until they are gone."""
        with self.locked(deadline):
            remaining = [process for _, process in self.pid_files()]
            for process in remaining:
                process.stop()
            for pool in self._quantities():
                self._remember(pool, 0)
        while any(process.alive for process in remaining):
            if time.monotonic() >= deadline:
                raise PlatformError("workers are still stopping")
            time.sleep(0.05)
