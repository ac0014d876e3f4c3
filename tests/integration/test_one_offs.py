"""Workers that are hired one by one: the platform never asks one to stop."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from celery_middle_management.evaluation.one_offs import OLD_RELEASE
from tests.emulator import DynoInfo
from tests.integration.stage import WORKER, Stage, stage
from tests.servers import wait_for

#: Some wait for a minute that the package waits for.
pytestmark = pytest.mark.timeout(400)
SETTINGS: dict[str, Any] = {"dynos": "one-off", "call_interval": 1}
#: Publishes what it reads.
PUBLISHER = "import sys\nfor line in sys.stdin: exec(line)"
HIRE = "POST /apps/myapp/dynos"


class Scene:
    def __init__(self, on: Stage, process: Any) -> None:
        self.on = on
        self._process = process

    def run(self, line: str) -> None:
        """Run a line in the process that publishes."""
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """End the process that publishes, as a deploy ends a web dyno."""
        self._process.stdin.close()
        self._process.wait(60)

    @property
    def there(self) -> list[DynoInfo]:
        return [dyno for dyno in self.on.emulator.dynos() if dyno.one_off]

    @property
    def changes(self) -> list[str]:
        """Every request that changed something."""
        made = self.on.emulator.requests
        return [f"{r.method} {r.path}" for r in made if r.method != "GET"]

    @property
    def stopped_by_us(self) -> list[str]:
        return [stop.name for stop in self.on.emulator.stops if stop.reason == "api"]

    def deploy_another_command(self) -> None:
        """Deploy with another command in the Procfile; no dyno that is up runs it."""
        self.on.emulator.show_command("worker", "celery -A proj worker --concurrency 4")
        self.on.emulator.deploy()

    @property
    def lists(self) -> int:
        """How often the dynos were listed."""
        made = self.on.emulator.requests
        return sum((r.method, r.path) == ("GET", "/apps/myapp/dynos") for r in made)

    def wait(self, condition: Any, timeout: float = 60.0) -> None:
        def told() -> str:
            return f"{self.there}\n{self.on.presences()}\n{self.on.state()}"

        wait_for(condition, timeout, told)


@contextmanager
def scene(redis_url: str, log_dir: Path, **settings: Any) -> Iterator[Scene]:
    emulator = {
        name: settings.pop(name)
        for name in ("process_types", "dyno_names", "command", "boot_delay")
        if name in settings
    }
    with (
        stage(redis_url, log_dir=log_dir, settings={**SETTINGS, **settings}, **emulator) as on,
        on.program(PUBLISHER) as process,
    ):
        yield Scene(on, process)


def killed(log_dir: Path) -> list[str]:
    return [log.name for log in log_dir.iterdir() if "Cold shutdown" in log.read_text()]


@pytest.mark.slow
@pytest.mark.parametrize("dyno_names", ["cedar", pytest.param("fir", marks=pytest.mark.slow)])
def test_a_hired_worker_works_and_leaves_by_itself(
    redis_url: str, tmp_path: Path, dyno_names: str
) -> None:
    with scene(redis_url, tmp_path, dyno_names=dyno_names) as it:
        it.run("for _ in range(3): work.delay(2)")
        it.wait(lambda: len(it.there) == 3)
        it.on.wait_until_finished(3)
        it.wait(lambda: not it.there)
        assert it.changes == 3 * [HIRE]
        assert it.on.quantity == 0
        assert it.on.number("worker/quantity") == 0
        for log in tmp_path.glob("*.log"):
            drains = [line for line in log.read_text().splitlines() if " drain worker=" in line]
            assert re.search(r'running=\d reason="\d tasks? at ', "\n".join(drains)), drains


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["threads", "solo", "gevent", "eventlet"])
def test_workers_of_every_pool_leave(redis_url: str, tmp_path: Path, pool: str) -> None:
    with scene(redis_url, tmp_path, command=(*WORKER, "-P", pool)) as it:
        it.run("work.delay(1)")
        it.on.wait_until_finished(1)
        it.wait(lambda: not it.there, 30)
        assert it.changes == [HIRE]


@pytest.mark.slow
def test_none_is_hired_beyond_the_limit_and_one_goes_while_another_works(
    redis_url: str, tmp_path: Path
) -> None:
    with scene(redis_url, tmp_path, max_workers=2) as it:
        it.run("work.delay(20); [work.delay(1) for _ in range(4)]")
        it.on.wait_until_finished(4)
        it.wait(lambda: len(it.there) == 1)
        assert it.on.emulator.most_one_offs == 2
        it.on.wait_until_finished(5)
        it.wait(lambda: not it.there)
        assert set(it.changes) == {HIRE}


@pytest.mark.slow
def test_a_draining_worker_is_called_back(redis_url: str, tmp_path: Path) -> None:
    with scene(redis_url, tmp_path, jobs_per_worker=4, max_workers=2, count_interval=2) as it:
        it.run("[work.delay(25) for _ in range(8)]")
        it.wait(lambda: sum(told["busy"] for told in it.on.presences()) == 2)
        it.on.redis.delete("celery")  # what waits is purged, so that one worker will do
        it.wait(lambda: any(told["stopped"] and told["busy"] for told in it.on.presences()))
        [drains] = [told["name"] for told in it.on.presences() if told["stopped"]]
        it.run("[work.delay(1) for _ in range(8)]")
        it.wait(lambda: not any(told["stopped"] for told in it.on.presences()))
        [log] = tmp_path.glob(f"{drains}.*")
        it.wait(lambda: log.read_text().count("succeeded in") > 1)
        assert re.search(rf"undrain worker={re.escape(drains)} running=1 after=", log.read_text())
        it.wait(lambda: not it.there)
        assert it.changes == 2 * [HIRE]


@pytest.mark.slow
def test_a_deploy_replaces_the_idle_and_kills_no_task(redis_url: str, tmp_path: Path) -> None:
    with scene(redis_url, tmp_path, min_workers=1) as it:
        it.run("work.delay(45)")
        it.wait(lambda: any(told["busy"] for told in it.on.presences()))
        [old] = it.there
        it.on.emulator.deploy()
        with it.on.program(PUBLISHER) as later:
            assert later.stdin is not None
            later.stdin.write("work.delay(1)\n")
            later.stdin.flush()
            # A new process has the list of dynos read; otherwise it is read once a minute.
            it.wait(lambda: [told["busy"] for told in it.on.presences() if told["stopped"]], 45)
        it.on.wait_until_finished(2)
        it.wait(lambda: [d.release for d in it.there] == [2])
        assert old.id not in {d.id for d in it.there}
        assert it.changes == 2 * [HIRE]
        [log] = tmp_path.glob(f"{old.name}.*")
        assert re.search(
            rf'drain worker={old.name} running=\d reason="{OLD_RELEASE}"', log.read_text()
        )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["skip", "double"])
def test_a_hire_that_is_done_never_or_twice_heals(
    redis_url: str, tmp_path: Path, kind: Any
) -> None:
    with scene(redis_url, tmp_path) as it:
        it.on.emulator.fault(kind, count=1, methods={"POST"})
        it.run("work.delay(2)")
        it.on.wait_until_finished(1, timeout=180)
        it.wait(lambda: not it.there)
        assert set(it.changes) == {HIRE}


@pytest.mark.slow
def test_an_unanswered_hire_counts_until_it_is_there(redis_url: str, tmp_path: Path) -> None:
    with scene(redis_url, tmp_path, max_workers=1) as it:
        it.on.emulator.fault("late_after", seconds=20.0, count=1, methods={"POST"})
        it.run("[work.delay(1) for _ in range(3)]")
        it.on.wait_until_finished(3, timeout=120)
        it.wait(lambda: not it.there)
        assert it.on.emulator.most_one_offs == 1


@pytest.mark.slow
def test_what_the_account_allows_is_not_exceeded(redis_url: str, tmp_path: Path) -> None:
    with scene(redis_url, tmp_path) as it:
        it.on.emulator.one_off_limit = 2
        it.run("[work.delay(2) for _ in range(4)]")
        it.on.wait_until_finished(4, timeout=120)
        refused = [r for r in it.on.emulator.requests if r.status == 422]
        assert 1 <= len(refused) <= 4
        it.wait(lambda: not it.there)


@pytest.mark.slow
def test_workers_that_end_at_once_are_not_hired_again_and_again(
    redis_url: str, tmp_path: Path
) -> None:
    with scene(redis_url, tmp_path, command=("/bin/false",)) as it:
        # Those that are hired together count once.
        it.run("[work.delay() for _ in range(2)]")
        it.wait(lambda: '"crashes":3' in it.on.state().get("worker/roster", ""), 180)
        status = it.on.status()
        assert re.search(
            "the workers of 3 hires in a row have ended within a minute", status["refused"]["why"]
        )
        assert it.changes == 3 * 2 * [HIRE]


@pytest.mark.slow
@pytest.mark.parametrize("deploy", [False, True])
def test_one_that_hangs_after_it_was_let_go_is_stopped(
    redis_url: str, tmp_path: Path, deploy: bool
) -> None:
    # It hangs when the worker has shut down, and does not end on SIGTERM either.
    command = ("/bin/sh", "-c", 'trap "" TERM; "$@"; sleep 300', "sh", *WORKER)
    with scene(redis_url, tmp_path, command=command) as it:
        it.run("work.delay(1)")
        it.on.wait_until_finished(1)
        if deploy:
            it.deploy_another_command()
        it.wait(lambda: it.stopped_by_us, 150)
        assert len(it.changes) == 2
        assert it.changes[1].endswith("/actions/stop")


@pytest.mark.slow
@pytest.mark.parametrize("quantity", [0, 2])
def test_from_the_formation_to_one_offs_and_back(
    redis_url: str, tmp_path: Path, quantity: int
) -> None:
    types = {"web": 1, "worker": quantity}
    with scene(redis_url, tmp_path, process_types=types, max_workers=4) as it:
        it.run("[work.delay(3) for _ in range(4)]")
        it.on.wait_until_finished(4, timeout=120)
        it.wait(lambda: not it.there and it.on.quantity == 0, 90)
        assert not killed(tmp_path)


@pytest.mark.slow
def test_one_offs_go_when_the_formation_is_to_do_the_work(redis_url: str, tmp_path: Path) -> None:
    with scene(redis_url, tmp_path, max_workers=3) as it:
        it.run("[work.delay(8) for _ in range(3)]")
        it.wait(lambda: sum(told["busy"] for told in it.on.presences()) == 3)
        it.on.env["MIDDLE_MANAGEMENT_DYNOS"] = "formation"
        with it.on.program(PUBLISHER) as later:
            later.stdin.write("[work.delay(1) for _ in range(3)]\n")
            later.stdin.flush()
            it.on.wait_until_finished(6, timeout=120)
            it.wait(lambda: not it.there and it.on.quantity == 0, 90)
        assert not killed(tmp_path)
        assert not it.stopped_by_us


def test_a_script_that_ends_at_once_hires(redis_url: str) -> None:
    with stage(redis_url, settings=SETTINGS, command=None) as on:
        on.script("[work.delay() for _ in range(4)]")
        assert len([dyno for dyno in on.emulator.dynos() if dyno.one_off]) == 4


@pytest.mark.slow
def test_those_of_a_pool_that_is_dropped_leave(redis_url: str, tmp_path: Path) -> None:
    both = {"worker": {}, "pdf": {"queues": ["pdf"]}}
    types = {"web": 1, "worker": 0, "pdf": 0}
    commands = {"worker": WORKER, "pdf": (*WORKER, "-Q", "pdf")}
    with scene(redis_url, tmp_path, process_types=types, pools=both, command=commands) as it:
        it.run("work.apply_async((10,), queue='pdf')")
        it.wait(lambda: any(told["busy"] for told in it.on.presences()))
        it.on.env["MIDDLE_MANAGEMENT_POOLS"] = '{"worker": {}}'
        with it.on.program(PUBLISHER) as later:
            later.stdin.write("work.delay(1)\n")
            later.stdin.flush()
            it.on.wait_until_finished(1)
            it.on.wait_until_finished(1, "pdf")
            # pdf's worker tells that it has finished under the name of its own pool, so that the
            # one pool left may take that task for running until its next count.
            it.wait(lambda: not it.there, 60 + 30)
        assert set(it.changes) == {HIRE}


@pytest.mark.slow
def test_the_move_there_and_back_by_deploys_under_load(redis_url: str, tmp_path: Path) -> None:
    """Processes of every deploy live and evaluate to the end, each with its own setting."""
    most, load = 4, "for _ in range(30): work.delay(2); time.sleep(0.4)"
    # A deploy's SIGTERM goes to every process of the formation, and ends those that prefork.
    made_of = {"dynos": "formation", "max_workers": most, "command": (*WORKER, "-P", "threads")}
    with scene(redis_url, tmp_path, **made_of) as it, ExitStack() as stack:
        crowds: list[int] = []
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.05):
                crowds.append(it.on.quantity + len(it.there))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            it.run(load)
            it.on.wait_until_finished(6)
            for dynos, finished in (("one-off", 40), ("formation", 90)):
                it.on.env["MIDDLE_MANAGEMENT_DYNOS"] = dynos
                it.on.emulator.deploy()
                later = stack.enter_context(it.on.program(PUBLISHER))
                assert later.stdin is not None
                later.stdin.write(f"{load}\n")
                later.stdin.flush()
                it.on.wait_until_finished(finished, timeout=150)
            it.wait(lambda: not it.there and it.on.quantity == 0, 90)
        finally:
            over.set()
            watcher.join()
        assert max(crowds) <= most
        assert any(change.startswith("PATCH") for change in it.changes)
        assert HIRE in it.changes
        logs = [log.read_text() for log in tmp_path.iterdir()]
        assert sum(log.count("succeeded in") for log in logs) == 90
        assert not killed(tmp_path)
        assert not any(stop.sigkilled for stop in it.on.emulator.stops)


@pytest.mark.slow
def test_one_that_hangs_holds_up_no_task(redis_url: str, tmp_path: Path) -> None:
    with scene(redis_url, tmp_path, jobs_per_worker=10, max_workers=2) as it:
        it.run("[work.delay(2) for _ in range(4)]")
        it.wait(lambda: any(told["busy"] for told in it.on.presences()))
        [hangs] = it.there
        assert hangs.pid is not None
        os.killpg(hangs.pid, signal.SIGSTOP)
        try:
            # All but the one that it has.
            it.on.wait_until_finished(3, timeout=120)
        finally:
            os.killpg(hangs.pid, signal.SIGCONT)
        it.on.wait_until_finished(4)
        it.wait(lambda: not it.there)
        assert it.changes == 2 * [HIRE]
        assert not it.stopped_by_us


@pytest.mark.slow
def test_a_silent_one_counts_after_a_deploy_with_another_command(
    redis_url: str, tmp_path: Path
) -> None:
    with scene(redis_url, tmp_path, max_workers=1) as it:
        it.run("work.delay(5)")
        it.wait(lambda: any(told["busy"] for told in it.on.presences()))
        [silent] = it.there
        assert silent.pid is not None
        os.killpg(silent.pid, signal.SIGSTOP)
        try:
            it.deploy_another_command()
            it.run("work.delay(1)")
            listed = it.lists
            it.wait(lambda: it.lists > listed + 2, 150)
            assert [dyno.id for dyno in it.there] == [silent.id]
        finally:
            os.killpg(silent.pid, signal.SIGCONT)
        it.on.wait_until_finished(2, timeout=120)
        it.wait(lambda: not it.there)
        assert it.on.emulator.most_one_offs == 1
        assert not it.stopped_by_us


#: What a deploy sets, and what a busy worker that outlives it must not do any more.
NEWS = [
    {"MIDDLE_MANAGEMENT_MAX_WORKERS": "1"},
    {"MIDDLE_MANAGEMENT_ENABLED": "false"},
    {"MIDDLE_MANAGEMENT_DRY_RUN": "true"},
    {"MIDDLE_MANAGEMENT_JOBS_PER_WORKER": "20"},
]


@pytest.mark.slow
@pytest.mark.parametrize("news", NEWS, ids=lambda news: next(iter(news)).removeprefix("MIDDLE_"))
def test_a_worker_that_outlives_a_deploy_does_not_decide_by_its_own_settings(
    redis_url: str, tmp_path: Path, news: dict[str, str]
) -> None:
    with scene(redis_url, tmp_path, min_workers=0, max_workers=4, count_interval=5) as it:
        it.run("work.delay(40)")
        it.wait(lambda: any(told["busy"] for told in it.on.presences()))
        it.end()
        it.on.env |= news
        it.on.emulator.deploy()
        with it.on.program(PUBLISHER) as later:
            assert later.stdin is not None
            later.stdin.write("[work.delay(1) for _ in range(6)]\n")
            later.stdin.flush()
            # With the old settings, four are hired at the next count.
            it.on.wait_until_finished(1, timeout=120)
            it.wait(lambda: not it.there, 120)
        assert it.on.emulator.most_one_offs <= 2
        assert len(it.changes) <= 1 + 3
        assert set(it.changes) == {HIRE}
        assert not killed(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("most", [4, 0])
def test_a_worker_that_outlives_a_deploy_keeps_no_minimum_of_its_own(
    redis_url: str, tmp_path: Path, most: int
) -> None:
    """Nor does it hire again and again for what the newest release leaves alone."""
    with scene(redis_url, tmp_path, min_workers=2, max_workers=4, count_interval=5) as it:
        it.run("work.delay(60)")
        it.wait(lambda: any(told["busy"] for told in it.on.presences()))
        it.end()
        hired = len(it.changes)
        it.on.env |= {
            "MIDDLE_MANAGEMENT_MIN_WORKERS": "0",
            "MIDDLE_MANAGEMENT_MAX_WORKERS": str(most),
        }
        it.on.emulator.deploy()
        it.on.script("work.delay(1)")
        it.on.wait_until_finished(2 if most else 1, timeout=120)
        it.wait(lambda: not it.there, 120)
        assert len(it.changes) <= hired + 2
        assert not it.stopped_by_us
