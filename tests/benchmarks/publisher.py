"""A process that publishes on command, and reports how long that took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from types import TracebackType
from typing import Any

from tests.servers import ROOT


@dataclass(frozen=True)
class Published:
    """The time (s) it took, the *longest* publish of it, and processor time since the start."""

    began: float
    seconds: float
    longest: float
    cpu: float


class Publisher:
    """The process, as seen by the one that drives it. *env* is added to the environment."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            env={**os.environ, **env},
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Linux divides processor time between sessions, and each worker has its own.
            start_new_session=True,
        )

    def __enter__(self) -> Publisher:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(30.0)
        finally:
            self._process.kill()

    def publish(
        self,
        count: int,
        task: str = "noop",
        *args: Any,
        queue: str = "celery",
        over: float = 0.0,
        due: float | None = None,
    ) -> Published:
        """Publish *count* tasks, evenly *over* some seconds or as quickly as possible.

        *task* is the name of a task, or of a load of tasks that are published in turns; *due* is
        when (Unix, s) they may begin.
        """
        self.begin(count, task, *args, queue=queue, over=over, due=due)
        return self.published()

    def begin(
        self,
        count: int,
        task: str = "noop",
        *args: Any,
        queue: str = "celery",
        over: float = 0.0,
        due: float | None = None,
    ) -> None:
        """Publish as :meth:`publish` does, without waiting."""
        order = {
            "count": count,
            "task": task,
            "args": args,
            "queue": queue,
            "over": over,
            "due": due,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def published(self) -> Published:
        """Wait for the publishing that was begun."""
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("a publisher has ended")
        return Published(**json.loads(answer))


def _obey(order: Mapping[str, Any]) -> Published:
    from tests.benchmarks import app

    tasks = app.LOADS.get(order["task"]) or [getattr(app, order["task"])]
    args, queue = order["args"], order["queue"]
    count, over = order["count"], order["over"]
    began, longest = time.monotonic(), 0.0
    for i in range(count):
        if over:
            time.sleep(max(began + over * i / count - time.monotonic(), 0.0))
        at, task = time.monotonic(), tasks[i % len(tasks)]
        if order["due"]:
            task.apply_async(
                args, queue=queue, eta=datetime.fromtimestamp(order["due"], timezone.utc)
            )
        elif queue == "celery":
            task.delay(*args)
        else:
            task.apply_async(args, queue=queue)
        longest = max(longest, time.monotonic() - at)
    return Published(began, time.monotonic() - began, longest, time.process_time())


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(vars(_obey(json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()
