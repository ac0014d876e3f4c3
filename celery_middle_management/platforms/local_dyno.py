"""Plays the dyno of one worker of the local platform.

It runs the worker in a process group of its own and restarts it when it exits by itself. On SIGTERM
it sends SIGTERM to the whole group and, some time later, SIGKILL. It is a daemon: it outlives the
process that started it. Other processes find it by its pid file; it stops when that is gone.

The platform runs this file by its path, and the file imports the standard library alone, so that a
worker is hired within milliseconds, whatever the app imports.
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
#: Seconds between two checks of the pid file.
LOOK_INTERVAL = 1.0

# One process in the group waits for the end of its standard input and then kills the group. Only
# the starter of the group holds that input open, so the group never outlives its starter, even one
# that was SIGKILLed. And the group's id is not used again while that process lives.
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

    Returns the process, whose pid is the id of the group. End it with :func:`kill_group`.
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
    """Send signal *number* to the group of a *process* that :func:`start_on_leash` started."""
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
    """Return when a process started, None if it is dead.

    The answer tells it apart from a process that gets the same pid later. Compare it only with
    another answer for the same pid on the same machine.
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
    """The file that names the process that plays the dyno, for as long as it does so."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._inode = 0

    def create(self) -> None:
        """Create the file atomically; raises FileExistsError if another process has one."""
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
        """Renew the file's time, so that cleaners of temporary directories spare it.

        Returns False if the file is gone or is another process's.
        """
        try:
            if self.path.stat().st_ino != self._inode:
                return False
            os.utime(self.path)
        except OSError:
            return False
        return True

    def mark_stopping(self) -> None:
        """Rename the file, which frees the worker's name for another."""
        if self.touch():
            stopping = self.path.with_name(f"{self.path.stem}.{os.getpid()}.stopping.json")
            self.path = self.path.rename(stopping)

    def remove(self) -> None:
        """Remove the file if it is still ours."""
        if self.touch():
            self.path.unlink(missing_ok=True)


class Dyno:
    """Keeps one worker's process running until SIGTERM comes.

    Args:
        command: the worker's command line.
        pid_file: its pid file; when that is gone, the worker is stopped.
        kill_after: seconds between SIGTERM and SIGKILL to the worker.
        once: do not start the worker again when it exits.
    """

    def __init__(
        self, command: Sequence[str], pid_file: PidFile, kill_after: float, *, once: bool = False
    ) -> None:
        self.command = command
        self.once = once
        self.pid_file = pid_file
        self.kill_after = kill_after
        self.must_stop = False
        self._wakeup, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_sigterm)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # Only to wake up.

    def run(self) -> None:
        """Run the worker, and return when it has been stopped."""
        delay = FIRST_DELAY
        while self._wanted():
            started = time.monotonic()
            self._run_worker()
            if self.once:
                break
            if time.monotonic() - started > LONGEST_DELAY:
                delay = FIRST_DELAY
            restart_at = time.monotonic() + delay
            while self._wanted() and (left := restart_at - time.monotonic()) > 0:
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
        kill_at = time.monotonic() + self.kill_after
        while worker.poll() is None and (left := kill_at - time.monotonic()) > 0:
            self._sleep(left)

    def _wanted(self) -> bool:
        # Without its pid file the worker could never be fired.
        return not self.must_stop and self.pid_file.touch()

    def _on_sigterm(self, *_: object) -> None:
        self.must_stop = True

    def _sleep(self, seconds: float) -> None:
        """Sleep until a signal comes, for *seconds* at most."""
        if select.select([self._wakeup], [], [], seconds)[0]:
            os.read(self._wakeup, 4096)


def _log(message: str) -> None:
    print(time.strftime("%Y-%m-%d %H:%M:%S"), "dyno:", message, file=sys.stderr, flush=True)


def _detach() -> int:
    """Fork, and go on in the child, in a session of its own.

    Returns a descriptor for an error message. The parent waits until that is closed, and exits. If
    there was a message, the parent exits with that as its own error.
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
    """Make *descriptors* refer to the file at *path*."""
    opened = os.open(path, flags, 0o600)
    for descriptor in descriptors:
        os.dup2(opened, descriptor)
    os.close(opened)


def main() -> None:
    """Start a dyno in the background; exit with 0 once its pid file is there.

    Standard input, which may be a lock, is held open until then.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kill-after", type=float, default=30.0, help="seconds after SIGTERM")
    parser.add_argument("--once", action="store_true", help="do not start the worker again")
    parser.add_argument("--pid-file", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()

    errors = _detach()
    try:
        # The process that hires may have blocked signals, and its children inherit that.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        pid_file = PidFile(options.pid_file)
        dyno = Dyno(options.command, pid_file, options.kill_after, once=options.once)
        _redirect((1, 2), options.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        pid_file.create()
        _redirect((0,), os.devnull, os.O_RDONLY)
    except OSError as error:
        os.write(errors, str(error).encode())
        sys.exit(1)
    os.close(errors)
    dyno.run()


if __name__ == "__main__":
    main()
