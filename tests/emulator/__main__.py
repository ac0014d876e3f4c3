"""Run the emulator until SIGTERM or SIGINT, and print its URL."""

from __future__ import annotations

import argparse
import contextlib
import signal
import time

from .emulator import HerokuEmulator


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.emulator", description=__doc__)
    parser.add_argument("types", nargs="*", metavar="TYPE=QUANTITY", help="e.g. web=1 worker=0")
    parser.add_argument("--command", nargs=argparse.REMAINDER, help="of every type except web")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--app", default="myapp")
    parser.add_argument("--api-key", default="emulated-key")
    parser.add_argument("--boot-delay", type=float, default=0.3, metavar="SECONDS")
    parser.add_argument("--kill-after", type=float, default=30.0, metavar="SECONDS")
    parser.add_argument("--dyno-names", choices=["cedar", "fir"], default="cedar")
    parser.add_argument("--log-dir")
    parser.add_argument("--cwd")
    options = parser.parse_args()
    types = {}
    for type_ in options.types or ["web=1", "worker=0"]:
        name, _, quantity = type_.partition("=")
        types[name] = int(quantity or 0)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        contextlib.suppress(KeyboardInterrupt),
        HerokuEmulator(
            app=options.app,
            api_key=options.api_key,
            process_types=types,
            command=options.command,
            boot_delay=options.boot_delay,
            kill_after=options.kill_after,
            cwd=options.cwd,
            dyno_names=options.dyno_names,
            log_dir=options.log_dir,
            port=options.port,
        ) as emulator,
    ):
        print(emulator.url, flush=True)
        while True:  # not signal.pause(), because another thread may get the signal
            time.sleep(0.1)


if __name__ == "__main__":
    main()
