"""``python -m tests.chaos --minutes 3 --seed 1``: exits with 1 if an invariant broke.

The journal and the output of every process are kept in a directory if an invariant broke.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from . import journal
from .brokers import BROKERS
from .faults import KINDS
from .invariants import check
from .phases import Run
from .report import as_json, as_text
from .stage import Options, Stage


def main() -> int:
    options = _options()
    if options.check:
        return _judge(options.check, options.report)
    directory = options.dir or Path(tempfile.mkdtemp(prefix="chaos-"))
    directory.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    stage_options = Options(
        options.seed,
        options.broker,
        options.dynos,
        options.call_interval,
        options.max_wait,
        tuple(filter(None, options.without.split(","))),
    )
    with Stage(directory, stage_options) as stage:
        Run(stage).run(options.minutes * 60)
    status = _judge(stage.journal_path, options.report)
    if status == 0 and options.dir is None:
        shutil.rmtree(directory)
    else:
        print(f"What happened: {directory}")
    return status


def _judge(path: Path, report: Path | None) -> int:
    events = journal.read(path)
    settings = next(event for event in events if event["kind"] == "settings")
    seconds = max(e["at"] for e in events if e["kind"] == "quiet") - settings["at"]
    verdicts = check(events)
    print(as_text(settings, seconds, verdicts))
    if report is not None:
        report.write_text(json.dumps(as_json(settings, seconds, verdicts), indent=2) + "\n")
    return 0 if all(verdict.held for verdict in verdicts) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="the length of the whole run")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--broker", choices=BROKERS, default=Options.broker)
    parser.add_argument("--dynos", choices=["cedar", "fir", "one-off"], default=Options.dynos,
                        help="the generation of Heroku's dynos, or one-off ones")  # fmt: skip
    parser.add_argument("--call-interval", type=float, default=Options.call_interval,
                        metavar="SECONDS")  # fmt: skip
    parser.add_argument("--max-wait", type=float, metavar="SECONDS",
                        help="set max_wait in place of jobs_per_worker")  # fmt: skip
    parser.add_argument("--without", default="", metavar="KINDS",
                        help=f"kinds of trouble to leave out: {', '.join(KINDS)}")  # fmt: skip
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the report as JSON, too")
    parser.add_argument("--dir", type=Path, help="keep the journal and logs here; the default "
                        "directory is kept only if an invariant broke")  # fmt: skip
    parser.add_argument("--check", type=Path, metavar="JOURNAL", help="judge a journal again")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
