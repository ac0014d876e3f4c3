"""A process that outlives the emulator by a moment, to kill the dynos that it left behind.

It reads from its standard input which process groups run ("+123") and which are over ("-123").
End of input means that the emulator is gone, for any reason; groups that still run are then killed.
Run as a script, by :class:`tests.emulator.dyno.Launcher`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def main() -> None:
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
