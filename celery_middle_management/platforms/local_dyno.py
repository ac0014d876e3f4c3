"""Plays the dyno of one worker of the local platform, as Heroku's do.

Runs the worker in a process group of its own, restarts it when it exits by itself, and on SIGTERM
sends SIGTERM to the whole group and, some time later, SIGKILL. It is a daemon: it outlives whoever
started it. Its pid file is how others find it, and a daemon whose pid file is gone stops.

The platform runs this file by its path, and it needs the standard library alone: so a worker is
hired within milliseconds, whatever the app imports.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

#: Seconds before a worker that exited is started again: the first time, and at most.
FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0
#: Seconds between two looks at the pid file.
LOOK_INTERVAL = 1.0

# A process in the group waits for the end of its standard input, which only whoever started the
# group holds open, and then kills the group. So the group never outlives its starter, even one
# that was SIGKILLed; and the group's id is not used again before the leash is let go.
_LEASH = (
    "exec 3<&0; "
    "(trap '' HUP INT QUIT TERM; read -r _; kill -KILL 0) <&3 3<&- >/dev/null 2>&1 & "
    'exec "$@" </dev/null 3<&-'
)


def start_on_leash(
    command: Sequence[str],
    output: IO[bytes] | int | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start *command* in a session of its own that dies when this process does.

    Returns its process; its group's id is its pid. End it with :func:`kill_group`.
    """
    return subprocess.Popen(
        ["/bin/sh", "-c", _LEASH, "leash", *command],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        env=env,
        cwd=cwd,
        start_new_session=True,
    )


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to the group of a *process* that :func:`start_on_leash` started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL what is left of the group of a *process* that :func:`start_on_leash` started."""
    if process.stdin is None or process.stdin.closed:
        return
    signal_group(process, signal.SIGKILL)
    process.stdin.close()
    process.wait()


def started_at(pid: int) -> str | None:
    """When a process started, to tell it from another that gets its pid later; None if it is dead.

    Only to be compared with another answer for the same pid, on the same machine.
    """
    return _started_at_by_proc(pid) if Path("/proc/self/stat").exists() else _started_at_by_ps(pid)


def _started_at_by_proc(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the command in parentheses, and may hold anything.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def _started_at_by_ps(pid: int) -> str | None:
    answer = subprocess.run(
        ["ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)],
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=5,
    )
    state, _, started = answer.stdout.strip().partition(" ")
    return None if not started or state.startswith("Z") else " ".join(started.split())


class PidFile:
    """Says, while it is there, which process plays the dyno."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._inode = 0

    def create(self) -> None:
        """Write it whole and at once; raises FileExistsError if somebody else's is there."""
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            draft.write_text(
                json.dumps({"pid": os.getpid(), "started_at": started_at(os.getpid())})
            )
            os.link(draft, self.path)
            self._inode = draft.stat().st_ino
        finally:
            draft.unlink(missing_ok=True)

    def touch(self) -> bool:
        """Keep it from the cleaners of temporary directories; False if it is ours no longer."""
        try:
            if self.path.stat().st_ino != self._inode:
                return False
            os.utime(self.path)
        except OSError:
            return False
        return True

    def mark_stopping(self) -> None:
        """Free the name for another worker."""
        if self.touch():
            stopping = self.path.with_name(f"{self.path.stem}.{os.getpid()}.stopping.json")
            self.path = self.path.rename(stopping)

    def remove(self) -> None:
        if self.touch():
            self.path.unlink(missing_ok=True)


class Dyno:
    """One worker's process, kept running until SIGTERM comes."""

    def __init__(
        self, command: Sequence[str], pid_file: PidFile, kill_after: float, *, once: bool = False
    ) -> None:
        self.command = command
        self.once = once
        self.pid_file = pid_file
        self.kill_after = kill_after
        self.told_to_stop = False
        self._wakeup, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_sigterm)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # Only to wake up.

    def run(self) -> None:
        """Returns when the worker has been stopped."""
        delay = FIRST_DELAY
        while self._wanted():
            began = time.monotonic()
            self._run_worker()
            if self.once:
                break
            if time.monotonic() - began > LONGEST_DELAY:
                delay = FIRST_DELAY
            again = time.monotonic() + delay
            while self._wanted() and (left := again - time.monotonic()) > 0:
                self._sleep(min(left, LOOK_INTERVAL))
            delay = min(delay * 2, LONGEST_DELAY)
        self.pid_file.remove()

    def _run_worker(self) -> None:
        try:
            worker = start_on_leash(self.command)
        except OSError as error:
            _log(f"the worker could not be started: {error}")
            return
        while worker.poll() is None and self._wanted():
            self._sleep(LOOK_INTERVAL)
        if worker.poll() is None:
            self._terminate(worker)
        else:
            _log(f"the worker exited by itself: {worker.returncode}")
        kill_group(worker)

    def _terminate(self, worker: subprocess.Popen[bytes]) -> None:
        self.pid_file.mark_stopping()
        signal_group(worker, signal.SIGTERM)
        give_up = time.monotonic() + self.kill_after
        while worker.poll() is None and (left := give_up - time.monotonic()) > 0:
            self._sleep(left)

    def _wanted(self) -> bool:
        # Without its pid file nobody could ever fire the worker.
        return not self.told_to_stop and self.pid_file.touch()

    def _on_sigterm(self, *_: object) -> None:
        self.told_to_stop = True

    def _sleep(self, seconds: float) -> None:
        """Until a signal comes, at most *seconds*."""
        if select.select([self._wakeup], [], [], seconds)[0]:
            os.read(self._wakeup, 4096)


def _log(message: str) -> None:
    print(time.strftime("%Y-%m-%d %H:%M:%S"), "dyno:", message, file=sys.stderr, flush=True)


def _detach() -> int:
    """Go on in a child, in a session of its own; returns a descriptor on which to tell the parent.

    The parent waits until that is closed, and exits: with what it was told as its error message.
    """
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        os.setsid()
        return writer
    os.close(writer)
    with open(reader) as pipe:
        error = pipe.read()
    sys.exit(error or 0)


def _redirect(descriptors: Sequence[int], path: str | Path, flags: int) -> None:
    """Open *path* in place of *descriptors*."""
    opened = os.open(path, flags, 0o600)
    for descriptor in descriptors:
        os.dup2(opened, descriptor)
    os.close(opened)


def main() -> None:
    """Start a dyno in the background; exits with 0 once its pid file is there.

    Standard input, a lock perhaps, is held open until then, and then let go.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kill-after", type=float, default=30.0, help="seconds after SIGTERM")
    parser.add_argument("--once", action="store_true", help="do not start the worker again")
    parser.add_argument("--pid-file", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()

    say = _detach()
    try:
        # Whoever hires may have signals blocked, and that is inherited.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        pid_file = PidFile(options.pid_file)
        dyno = Dyno(options.command, pid_file, options.kill_after, once=options.once)
        _redirect((1, 2), options.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        pid_file.create()
        _redirect((0,), os.devnull, os.O_RDONLY)
    except OSError as error:
        os.write(say, str(error).encode())
        sys.exit(1)
    os.close(say)
    dyno.run()


if __name__ == "__main__":
    main()
