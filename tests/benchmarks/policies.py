"""Writes docs/policies.md: what each policy costs, and how long tasks wait, on several traces.

    python -m tests.benchmarks.policies TRACES_DIRECTORY --days 1 --cache /tmp/policies

The page has a row for every combination of a trace, run times, a concurrency and a policy. The ones
that are likely to take the longest are simulated last. Every result is kept in the cache, so that a
run which is interrupted, or which was told to do only a part, can be continued; but only with the
same simulator. To change the simulator meanwhile, run the command in a copy.
"""

from __future__ import annotations

import argparse
import re
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path

from celery_middle_management.sim import TraceError
from tests.benchmarks.policy_page import page, plot, verdicts
from tests.benchmarks.policy_runs import (
    Combination,
    Row,
    combinations,
    kept_row,
    loads,
    say,
    simulate_all,
)
from tests.servers import ROOT


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = options_of(__doc__, arguments)
    with tempfile.TemporaryDirectory(prefix="policies-") as temporary:
        cache = options.cache or Path(temporary)
        cache.mkdir(parents=True, exist_ok=True)
        try:
            found = [*loads(options.traces, options.days, options.seed)]
            all_ = [one for load in found for one in combinations(load)]
        except TraceError as error:
            raise SystemExit(str(error)) from None
        if not all_:
            raise SystemExit(f"{options.traces}: no trace")
        wanted = [one for one in all_ if not options.only or options.only.search(one.name)]
        rows = kept_rows(all_, cache)
        say(f"{len(all_)} combinations; the cache has {len(rows)}")
        missing = [one for one in wanted if one not in rows]
        if missing and options.minutes > 0:
            simulate_all(missing, cache, options.jobs, options.minutes)
        rows = kept_rows(all_, cache)
    if not verdicts(rows):
        raise SystemExit("there is nothing to compare; simulate one of ours and one rival at least")
    options.into.joinpath("policies.md").write_text(
        page(all_, rows, command_of("policies", options)), "utf-8"
    )
    options.into.joinpath("policies.svg").write_text(plot(rows), "utf-8")


def kept_rows(all_: Sequence[Combination], cache: Path) -> dict[Combination, Row]:
    """Return the results that earlier runs have kept."""
    return {one: row for one in all_ if (row := kept_row(one, cache))}


def options_of(description: str | None, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line of a benchmark that simulates combinations and writes a page."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    add = parser.add_argument
    add("traces", type=Path, help="a directory of traces: *.csv and *.csv.gz")
    add("--days", type=float, help="of traces without run times use the first so many")
    add("--only", type=re.compile, help="only what this regular expression is found in")
    add("--minutes", type=float, default=1e6, help="stop after so many; 0: write what is cached")
    add("--jobs", type=int, default=2, help="processes (default 2)")
    add("--seed", type=int, default=0)
    add("--cache", type=Path, help="a directory that keeps results for later runs")
    add("--into", type=Path, default=ROOT / "docs", help="the directory to write to")
    return parser.parse_args(arguments)


def command_of(module: str, options: argparse.Namespace) -> str:
    """Return the command, without what makes no difference to the page."""
    words = ["python", "-m", f"tests.benchmarks.{module}", options.traces.absolute().name]
    words += ["--days", f"{options.days:g}"] if options.days else []
    words += ["--only", options.only.pattern] if options.only else []
    words += ["--seed", str(options.seed)] if options.seed else []
    return shlex.join(words)


if __name__ == "__main__":
    main()
