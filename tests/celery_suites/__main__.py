"""``python -m tests.celery_suites``: exit with 1 if a test has another outcome with us."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from celery_middle_management.demo.redis_server import RedisServer
from celery_middle_management.platforms.local_dyno import kill_group, start_on_leash
from tests.emulator import HerokuEmulator

from . import recorder
from .environment import Environment
from .outcomes import ABSENT, Difference, Outcome, differences, read, summary

WAYS = ("plain", "imported", "enabled")
SUITES = ("unit", "integration")
#: The time limits (s) of a run of a suite, and of a test.
SUITE_LIMIT, TEST_LIMIT = 3000.0, 300.0
#: The file of a test that differs is run again this often, in each way.
RERUNS = 3
WITH_US = "only with us"
#: The beginnings of names of tests that may fail with us, and why that does no harm.
EXPLAINED = {
    "t/unit/worker/test_consumer.py::test_Consumer_WorkerShutdown::": (
        "it takes the first line of the log for its own; "
        "before it, we warn that the tasks of a broker in memory cannot be seen from elsewhere"
    ),
}


class Runs:
    """The runs of the suites in *directory*, where their outcomes and output are kept."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._environment = Environment(directory)
        self._environment.make()
        print(f"Celery {self._environment.version}, in {directory}", flush=True)

    def parts(self, suite: str) -> list[str]:
        """The parts of a suite that may run side by side: the integration tests mostly wait."""
        if suite == "unit":
            return ["t/unit"]
        paths = sorted((self._environment.suites / "t" / suite).glob("test_*.py"))
        return [f"t/{suite}/{path.name}" for path in paths]

    def part(self, part: str, way: str) -> dict[str, Outcome]:
        """The outcomes of a part of a suite; those of an earlier run, if that finished."""
        name = f"{part.removesuffix('.py').replace('/', '.')}-{way}"
        path, done = self._paths(name)
        if not done.exists():
            self._run(name, way, [part])
        return read(path)

    def again(self, difference: Difference, way: str) -> str:
        """Judge a difference by running the test's file some more times in each way.

        The whole file, because earlier tests in the same process may matter.
        """
        seen: dict[str, set[str]] = {"plain": set(), way: set()}
        for one, words in seen.items():
            for number in range(RERUNS):
                name = f"again-{one}-{number}"
                self._run(name, one, [difference.test.partition("::")[0]])
                outcome = read(self._paths(name)[0]).get(difference.test, ABSENT)
                words.add(outcome.word)
        if difference.ours.word in seen["plain"]:
            return "now and then without us too"
        return WITH_US if difference.ours.word in seen[way] else "not seen again"

    def _paths(self, name: str) -> tuple[Path, Path]:
        return self._directory / f"{name}.jsonl", self._directory / f"{name}.done"

    def _run(self, name: str, way: str, tests: Sequence[str]) -> None:
        outcomes, done = self._paths(name)
        outcomes.unlink(missing_ok=True)
        done.unlink(missing_ok=True)
        plugins = ["-p", "recorder", "-p", "no:cacheprovider"]
        if way != "plain":
            plugins += ["-p", "celery_middle_management"]
        options = ["-q", "--timeout", str(TEST_LIMIT), *plugins]
        command = [str(self._environment.python), "-m", "pytest", *options, *tests]
        place = self._directory / f"{name}.place"
        # One copy per run: the tests write files beside themselves.
        shutil.copytree(self._environment.suites, place, dirs_exist_ok=True)
        shutil.copy(recorder.__file__, place)
        with servers(way) as env, (self._directory / f"{name}.log").open("wb") as log:
            env[recorder.FILE] = str(outcomes)
            if way != "plain":
                env["PYTHONPATH"] = str(self._environment.ours)
            process = start_on_leash(command, log, env, place)
            try:
                if process.wait(SUITE_LIMIT) not in (0, 1):  # neither passed nor failed
                    raise RuntimeError(f"pytest itself failed: {self._directory / name}.log")
                done.touch()
            except subprocess.TimeoutExpired:
                print(f"{name} was not done within {SUITE_LIMIT:.0f} s", flush=True)
            finally:
                kill_group(process)
                shutil.rmtree(place)


@contextmanager
def servers(way: str) -> Iterator[dict[str, str]]:
    """Start a Redis, and if needed a Heroku; yield the environment that leads there."""
    ours = ("CELERY_", "MIDDLE_MANAGEMENT_", "HEROKU_", "PYTEST_", "PYTHONPATH", "REDIS_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        env |= {
            "TEST_BROKER": redis.url,
            "TEST_BACKEND": redis.url,
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(redis.port),
        }
        if way == "enabled":
            heroku = stack.enter_context(HerokuEmulator(boot_delay=0.0))
            env |= {
                "MIDDLE_MANAGEMENT_ENABLED": "true",
                "MIDDLE_MANAGEMENT_MAX_WORKERS": "2",
                "MIDDLE_MANAGEMENT_HEROKU_APP": heroku.app,
                "MIDDLE_MANAGEMENT_OFF_PLATFORM": "true",
                "MIDDLE_MANAGEMENT_HEROKU_API_KEY": heroku.api_key,
                "MIDDLE_MANAGEMENT_HEROKU_API_URL": heroku.url,
                "MIDDLE_MANAGEMENT_REDIS_URL": redis.url.replace("/0", "/15"),
            }
        yield env


def compare(runs: Runs, suites: Sequence[str], ways: Sequence[str], jobs: int) -> list[str]:
    """The tests that repeatedly have another outcome with us, and never without."""
    ours = []
    for suite in suites:
        parts = [(part, way) for part in runs.parts(suite) for way in ways]
        outcomes: dict[str, dict[str, Outcome]] = {way: {} for way in ways}
        with ThreadPoolExecutor(jobs) as pool:
            found = pool.map(lambda one: runs.part(*one), parts)
            for (_, way), of_part in zip(parts, found, strict=True):
                outcomes[way] |= of_part
        for way in ways:
            print(f"{suite}, {way}: {summary(outcomes[way])}", flush=True)
            for difference in differences(outcomes["plain"], outcomes[way]):
                test, plain, other = difference
                print(f"{suite}, {way}: {test}: {plain.word} -> {other.word}", flush=True)
                print(f"  {other.why or plain.why}", flush=True)
                known = [why for begin, why in EXPLAINED.items() if test.startswith(begin)]
                verdict = known[0] if known else runs.again(difference, way)
                print(f"  {verdict}", flush=True)
                if verdict == WITH_US:
                    ours.append(f"{way}: {test}")
    return ours


def main() -> int:
    # All that was started ends with us, so there is nothing to tidy up.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parser = argparse.ArgumentParser(prog="python -m tests.celery_suites", description=__doc__)
    parser.add_argument("--suite", choices=SUITES, action="append", help="default: both")
    parser.add_argument("--way", choices=WAYS[1:], action="append", help="default: both")
    parser.add_argument("--dir", type=Path, help="keep all of it here, and use again what is there")
    parser.add_argument("--jobs", type=int, default=4, help="runs at the same time")
    options = parser.parse_args()
    directory = options.dir or Path(tempfile.mkdtemp(prefix="celery-suites-"))
    directory.mkdir(parents=True, exist_ok=True)
    ways = ["plain", *(options.way or WAYS[1:])]
    ours = compare(Runs(directory.resolve()), options.suite or SUITES, ways, options.jobs)
    print(*(["Other outcomes with us:", *ours] if ours else ["No difference is ours."]), sep="\n")
    if not options.dir and not ours:
        shutil.rmtree(directory)
    return 1 if ours else 0


if __name__ == "__main__":
    sys.exit(main())
