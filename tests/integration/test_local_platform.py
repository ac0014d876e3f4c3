"""The local platform hires and fires real processes: Celery's where it matters, or scripts."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from celery_middle_management.app_import_path import app_path
from celery_middle_management.core.pools import Pool
from celery_middle_management.demo.redis_server import RedisServer
from celery_middle_management.platforms import local_dyno
from celery_middle_management.platforms.base import PlatformError
from celery_middle_management.platforms.local import LocalPlatform
from celery_middle_management.platforms.local_files import default_directory, log_path
from celery_middle_management.settings.secret import Secret
from tests.integration.apps import plain
from tests.integration.local_workers import LocalWorkers
from tests.servers import ROOT, wait_for

POOLS = (
    Pool("worker", None, min_workers=0, max_workers=10, jobs_per_worker=10),
    Pool("pdf", ("pdf", "pdf-urgent"), min_workers=0, max_workers=10, jobs_per_worker=10),
)
SLEEP = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
CRASHING = "import os; print(os.getpid(), os.environ['DYNO'], flush=True)"


class Scripts(LocalWorkers):
    """Runs a script instead of ``celery worker``, which is quick to start."""

    def __init__(self, directory: Path, script: str = SLEEP, kill_after: float = 30.0) -> None:
        super().__init__(plain.app, POOLS, directory, kill_after)
        self.script = script

    def command(self, pool: Pool, number: int) -> list[str]:
        # The directory is there for processes() to see.
        return [sys.executable, "-c", self.script, str(self.files.directory)]


def soon(seconds: float = 60.0) -> float:
    return time.monotonic() + seconds


def processes(directory: Path) -> set[int]:
    """Every process, worker or dyno, whose command line names *directory*."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(directory) in arguments and local_dyno.started_at(int(path.parent.name)) is not None:
            found.add(int(path.parent.name))
    return found - {os.getpid()}


def pid_of(platform: LocalPlatform, worker: str) -> int:
    """The pid of the dyno of *worker*."""
    return int(json.loads((platform.files.directory / f"{worker}.json").read_text())["pid"])


def wait_until_up(platform: LocalPlatform, worker: str) -> None:
    log = platform.files.log(worker)
    wait_for(lambda: "up" in log.read_text(), message=f"{worker} does not start")


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """The directory of the workers; after the test none of their processes may be left."""
    directory = tmp_path / "workers"
    yield directory
    Scripts(directory).stop_all(soon())
    wait_for(lambda: not processes(directory), message=lambda: str(processes(directory)))
    # A process that was dying at the first look has died by now.
    Scripts(directory).stop_all(soon())
    assert not list(directory.glob("*.json"))


def running(platform: LocalPlatform, *pools: str) -> set[str]:
    return {name for names in platform.running(pools, soon()).values() for name in names}


def test_no_worker_is_hired_at_first(directory: Path) -> None:
    platform = Scripts(directory)
    assert platform.quantities(["worker", "pdf"], soon()) == {"worker": 0, "pdf": 0}
    assert platform.running(["worker", "pdf"], soon()) == {"worker": [], "pdf": []}


def test_hire_two_fire_one_then_the_other(directory: Path) -> None:
    platform = Scripts(directory)
    assert platform.scale({"worker": 2, "pdf": 1}, soon()) == {"worker": 2, "pdf": 1}
    assert running(platform, "worker") == {"worker.1", "worker.2"}
    assert running(platform, "worker", "pdf") == {"worker.1", "worker.2", "pdf.1"}
    kept = pid_of(platform, "worker.1")

    assert platform.scale({"worker": 1}, soon()) == {"worker": 1}
    assert running(platform, "worker") == {"worker.1"}
    assert platform.scale({"worker": 1}, soon()) == {"worker": 1}
    assert pid_of(platform, "worker.1") == kept
    assert platform.quantities(["pdf"], soon()) == {"pdf": 1}

    assert platform.scale({"worker": 0, "pdf": 0}, soon()) == {"worker": 0, "pdf": 0}
    wait_for(lambda: not processes(directory), message="fired workers are still there")


def kill(platform: LocalPlatform, *workers: str) -> None:
    """SIGKILL to their dynos, which takes the workers with them."""
    pids = [pid_of(platform, worker) for worker in workers]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: all(local_dyno.started_at(pid) is None for pid in pids))


@pytest.mark.parametrize("look", [True, False], ids=["looked at before", "at once"])
def test_no_worker_is_stopped_when_a_lower_number_has_died(directory: Path, look: bool) -> None:
    platform = Scripts(directory)
    platform.scale({"worker": 3}, soon())
    at_work = {worker: pid_of(platform, worker) for worker in ("worker.2", "worker.3")}
    kill(platform, "worker.1")
    assert running(platform, "worker") == {"worker.2", "worker.3"}
    if look:
        assert platform.quantities(["worker"], soon()) == {"worker": 3}
        assert running(platform, "worker") == {"worker.1", "worker.2", "worker.3"}
    assert platform.scale({"worker": 3}, soon()) == {"worker": 3}
    assert {worker: pid_of(platform, worker) for worker in at_work} == at_work
    assert running(platform, "worker") == {"worker.1", "worker.2", "worker.3"}


def test_scaling_down_stops_the_higher_numbers_whichever_have_died(directory: Path) -> None:
    platform = Scripts(directory)
    platform.scale({"worker": 4, "pdf": 1}, soon())
    kept = pid_of(platform, "worker.2"), pid_of(platform, "pdf.1")
    kill(platform, "worker.1", "worker.3")
    assert platform.scale({"worker": 2}, soon()) == {"worker": 2}
    assert running(platform, "worker", "pdf") == {"worker.1", "worker.2", "pdf.1"}
    assert (pid_of(platform, "worker.2"), pid_of(platform, "pdf.1")) == kept


def test_a_look_repairs_nothing_while_another_process_scales(directory: Path) -> None:
    platform = Scripts(directory)
    platform.scale({"worker": 2}, soon())
    kill(platform, "worker.1")
    with (directory / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert platform.quantities(["worker"], soon()) == {"worker": 2}
        assert running(platform, "worker") == {"worker.2"}
    assert platform.quantities(["worker"], soon()) == {"worker": 2}
    assert running(platform, "worker") == {"worker.1", "worker.2"}


def test_a_worker_that_cannot_be_started_again_hides_no_quantity(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    platform = Scripts(directory)
    platform.scale({"worker": 2}, soon())
    kill(platform, "worker.1")
    platform.files.log("worker.1").rename(directory / "old.log")
    platform.files.log("worker.1").mkdir()
    assert platform.quantities(["worker"], soon()) == {"worker": 2}
    assert "worker.1 could not be started" in caplog.text


@pytest.mark.parametrize("content", [None, "", "[]", "3", '{"worker": "3"}', '{"worker": null}'])
def test_without_its_quantity_a_pool_keeps_its_live_workers(
    directory: Path, content: str | None
) -> None:
    platform = Scripts(directory)
    platform.scale({"worker": 3}, soon())
    at_work = pid_of(platform, "worker.3")
    file = directory / "quantities"
    file.unlink() if content is None else file.write_text(content)
    kill(platform, "worker.1")
    assert platform.quantities(["worker"], soon()) == {"worker": 3}
    assert platform.scale({"worker": 3}, soon()) == {"worker": 3}
    assert pid_of(platform, "worker.3") == at_work


def test_a_real_worker_runs_tasks_under_its_name_from_its_pools_queues(
    directory: Path, redis_server: RedisServer, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_URL", redis_url)
    monkeypatch.setenv("RESULT_BACKEND", redis_url)
    platform = LocalWorkers(plain.app, POOLS, directory)
    platform.scale({"worker": 1, "pdf": 1}, soon())
    with Celery(broker=redis_url, backend=redis_url) as app:
        where = app.signature(plain.where.name)
        assert where.apply_async(queue="celery").get(timeout=60) == "worker.1"
        assert where.apply_async(queue="pdf-urgent").get(timeout=60) == "pdf.1"
    assert "worker.1@" in platform.files.log("worker.1").read_text()
    platform.scale({"worker": 0, "pdf": 0}, soon())
    platform.stop_all(soon())
    assert "Warm shutdown" in platform.files.log("worker.1").read_text()


HIRER = """
import sys
from pathlib import Path
from tests.integration.test_local_platform import Scripts, soon
platform = Scripts(Path(sys.argv[1]))
print("ready", flush=True)
print(platform.scale({"worker": 4, "pdf": 2}, soon()))
"""


def test_workers_outlive_the_process_that_hired_them_and_another_fires_them(
    directory: Path,
) -> None:
    subprocess.run([sys.executable, "-c", HIRER, directory], check=True, cwd=ROOT, timeout=120)
    platform = Scripts(directory)
    assert platform.quantities(["worker", "pdf"], soon()) == {"worker": 4, "pdf": 2}
    wait_until_up(platform, "worker.4")
    platform.scale({"worker": 1, "pdf": 0}, soon())
    assert platform.quantities(["worker", "pdf"], soon()) == {"worker": 1, "pdf": 0}


DYING = """
import os, sys
from functools import partial
from pathlib import Path
from tests.integration.test_local_platform import Scripts, soon

class Dying(Scripts):
    left = int(sys.argv[2])

    def step(self, do, *arguments):
        if not self.left:
            os._exit(9)
        self.left -= 1
        return do(*arguments)

    def _start_number(self, *arguments): return self.step(super()._start_number, *arguments)
    def _stop(self, *arguments): return self.step(super()._stop, *arguments)

dying = Dying(Path(sys.argv[1]))
dying.files.set_quantity = partial(dying.step, dying.files.set_quantity)
dying.scale({"worker": int(sys.argv[3]), "pdf": 1}, soon())
"""


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [1, 3])
def test_live_workers_are_wanted_wherever_the_scaler_dies(directory: Path, wanted: int) -> None:
    """So a repair has only to start workers, and never stops one at work."""
    platform = Scripts(directory)
    steps, died = 0, True
    while died:
        platform.scale({"worker": 2, "pdf": 0}, soon())
        kept = pid_of(platform, "worker.1")
        program = [sys.executable, "-c", DYING, str(directory), str(steps), str(wanted)]
        died = subprocess.run(program, cwd=ROOT, timeout=60, check=False).returncode == 9
        alive = running(platform, "worker")
        (quantity,) = platform.quantities(["worker"], soon()).values()
        assert 1 <= min(wanted, 2) <= quantity <= max(wanted, 2)
        assert alive <= {f"worker.{number + 1}" for number in range(quantity)}
        assert len(running(platform, "worker")) == quantity
        assert pid_of(platform, "worker.1") == kept
        steps += 1
    assert quantity == wanted
    assert steps >= 3


@pytest.mark.parametrize("attempt", range(3))
def test_nothing_is_lost_when_the_hirer_is_killed_anywhere(directory: Path, attempt: int) -> None:
    hirer = [sys.executable, "-c", HIRER, str(directory)]
    with subprocess.Popen(hirer, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(random.uniform(0.0, 0.4))
        process.kill()
    platform = Scripts(directory)
    assert platform.scale({"worker": 3, "pdf": 3}, soon()) == {"worker": 3, "pdf": 3}

    assert platform.scale({"worker": 0, "pdf": 0}, soon()) == {"worker": 0, "pdf": 0}
    wait_for(lambda: not processes(directory), message=lambda: f"left: {processes(directory)}")


def test_a_worker_that_crashes_is_started_again(directory: Path) -> None:
    platform = Scripts(directory, CRASHING)
    platform.scale({"worker": 1}, soon())
    log = platform.files.log("worker.1")
    wait_for(lambda: log.read_text().count("worker.1\n") >= 2, message=log.read_text)
    assert "dyno: the worker exited by itself: 0" in log.read_text()
    assert running(platform, "worker") == {"worker.1"}
    platform.scale({"worker": 0}, soon())
    wait_for(lambda: not processes(directory), message="it stays although nothing runs")


def test_a_crashed_workers_children_do_not_stay(directory: Path) -> None:
    child = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', '{SLEEP[:11]}; "
    child += "time.sleep(600)', sys.argv[1]]); sys.exit(3)"
    platform = Scripts(directory, child)
    platform.scale({"worker": 1}, soon())
    log = platform.files.log("worker.1")
    wait_for(lambda: "exited by itself: 3" in log.read_text(), message=log.read_text)
    wait_for(lambda: processes(directory) == {pid_of(platform, "worker.1")})


def test_a_worker_that_ignores_sigterm_is_killed_and_its_name_is_free_meanwhile(
    directory: Path,
) -> None:
    platform = Scripts(directory, STUBBORN, kill_after=3.0)
    platform.scale({"worker": 1}, soon())
    wait_until_up(platform, "worker.1")
    old = pid_of(platform, "worker.1")
    assert platform.scale({"worker": 0}, soon()) == {"worker": 0}
    assert platform.scale({"worker": 1}, soon()) == {"worker": 1}
    assert pid_of(platform, "worker.1") != old
    wait_for(lambda: local_dyno.started_at(old) is None, message="it was not killed")
    platform.scale({"worker": 0}, soon())
    wait_for(lambda: not processes(directory), message="a worker was not killed")


def test_a_worker_whose_dyno_is_killed_dies_too_and_is_replaced(directory: Path) -> None:
    platform = Scripts(directory, STUBBORN)
    platform.scale({"worker": 1}, soon())
    wait_until_up(platform, "worker.1")
    os.kill(pid_of(platform, "worker.1"), signal.SIGKILL)
    wait_for(lambda: not processes(directory), message="the worker outlived its dyno")
    assert running(platform, "worker") == set()
    assert platform.quantities(["worker"], soon()) == {"worker": 1}
    assert running(platform, "worker") == {"worker.1"}


def test_a_process_that_got_the_pid_of_a_dead_dyno_is_never_signalled(directory: Path) -> None:
    platform = Scripts(directory)
    directory.mkdir(mode=0o700)
    with subprocess.Popen([sys.executable, "-c", SLEEP]) as stranger:
        forged = json.dumps({"pid": stranger.pid, "started_at": "long ago"})
        for name in "worker.1.json", "worker.2.json", "pdf.1.99.stopping.json":
            (directory / name).write_text(forged)
        assert platform.quantities(["worker"], soon()) == {"worker": 0}
        assert platform.scale({"worker": 1, "pdf": 0}, soon()) == {"worker": 1, "pdf": 0}
        assert pid_of(platform, "worker.1") != stranger.pid
        assert sorted(path.name for path in directory.glob("*.json")) == ["worker.1.json"]
        platform.scale({"worker": 0}, soon())
        platform.stop_all(soon())
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pid": null, "started_at": 1}', "\x00"])
def test_a_damaged_pid_file_is_replaced(directory: Path, content: str) -> None:
    platform = Scripts(directory)
    directory.mkdir(mode=0o700)
    (directory / "worker.1.json").write_text(content)
    assert platform.scale({"worker": 1}, soon()) == {"worker": 1}


def test_a_worker_without_its_pid_file_stops_by_itself(directory: Path) -> None:
    platform = Scripts(directory)
    platform.scale({"worker": 2}, soon())
    (directory / "worker.1.json").unlink()
    replaced = directory / "worker.2.json"
    replaced.with_suffix(".new").write_bytes(replaced.read_bytes())
    replaced.with_suffix(".new").rename(replaced)
    wait_for(lambda: not processes(directory), message="it does not stop")


def test_a_second_dyno_of_a_name_gives_way(directory: Path) -> None:
    platform = Scripts(directory)
    platform.scale({"worker": 1}, soon())
    files = ["--pid-file", f"{directory}/worker.1.json", "--log", f"{directory}/second.log"]
    second = subprocess.run(
        [
            sys.executable,
            local_dyno.__file__,
            *files,
            "--",
            sys.executable,
            "-c",
            SLEEP,
            str(directory),
        ],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert second.returncode == 1
    assert "exists" in second.stderr
    assert not (set(directory.glob(".worker*")))
    assert platform.quantities(["worker"], soon()) == {"worker": 1}


def test_a_dyno_that_does_not_react_is_an_error(directory: Path) -> None:
    platform = Scripts(directory)
    platform.scale({"worker": 1}, soon())
    pid = pid_of(platform, "worker.1")
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(PlatformError, match=r"worker\.1 .* does not react") as caught:
            platform.scale({"worker": 0}, soon(0.2))
        assert not caught.value.settled
        with pytest.raises(PlatformError, match="still stopping"):
            platform.stop_all(soon(0.2))
    finally:
        os.kill(pid, signal.SIGCONT)


def test_one_scaler_at_a_time(directory: Path) -> None:
    platform = Scripts(directory)
    platform.scale({"worker": 1}, soon())
    with (directory / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(PlatformError, match="another process is scaling") as caught:
            platform.scale({"worker": 2}, soon(0.1))
    assert caught.value.settled
    assert platform.quantities(["worker"], soon()) == {"worker": 1}


def test_a_deadline_that_is_over_starts_nothing(directory: Path) -> None:
    with pytest.raises(PlatformError, match=r"no time was left to start worker\.1"):
        Scripts(directory).scale({"worker": 1}, time.monotonic())


def test_an_unknown_pool_is_an_error(directory: Path) -> None:
    with pytest.raises(PlatformError, match="no pool web") as caught:
        Scripts(directory).scale({"web": 1}, soon())
    assert caught.value.settled


def test_a_worker_that_cannot_be_started_is_a_clear_error(directory: Path) -> None:
    platform = Scripts(directory)
    platform.files.log("worker.1").mkdir(parents=True)
    directory.chmod(0o700)
    with pytest.raises(PlatformError, match=r"worker\.1 could not be started: .*Is a directory"):
        platform.scale({"worker": 1}, soon())
    platform.script = "#" * 1_000_000
    with pytest.raises(PlatformError, match=r"pdf\.1 could not be started: .*too long"):
        platform.scale({"pdf": 1}, soon())


@pytest.mark.parametrize("there", ["a file", "writable by others", "of another user"])
def test_a_directory_that_is_not_ours_alone_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    directory = tmp_path / "workers"
    if there == "a file":
        directory.touch()
    else:
        directory.mkdir()
        directory.chmod(0o777 if there == "writable by others" else 0o700)
    if there == "of another user":
        uid = os.getuid() + 1
        monkeypatch.setattr(os, "getuid", lambda: uid)
    with pytest.raises(PlatformError, match=str(directory)) as caught:
        Scripts(directory).scale({"worker": 1}, soon())
    assert caught.value.settled


def test_pid_files_that_cannot_be_listed_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PlatformError, match="Not a directory"):
        Scripts(tmp_path / "file").quantities(["worker"], soon())


def test_the_default_directory_is_the_users_own_for_each_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    directory = default_directory(Secret("redis://:secret@localhost:6379/0"))
    assert directory.parent == tmp_path / f"celery-middle-management-{os.getuid()}"
    assert default_directory(Secret("redis://:changed@localhost:6379/0")) == directory
    assert default_directory(Secret("redis://localhost:6379/1")) != directory
    log = LocalPlatform(plain.app, POOLS, directory).files.log("worker.1")
    assert log_path(Secret("redis://localhost:6379/0"), "worker.1") == log
    for made in directory, directory.parent:
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
    directory.parent.chmod(0o777)
    with pytest.raises(PlatformError, match=r"no directory for the workers.*chmod 700"):
        default_directory(Secret("redis://localhost:6379/0"))


def test_celery_runs_the_app_from_the_module_that_it_is_in(directory: Path) -> None:
    assert str(app_path(plain.app)) == "tests.integration.apps.plain:app"
    command = LocalPlatform(plain.app, POOLS, directory).command(POOLS[1], "pdf.3")
    assert command[1:] == [
        *["-m", "celery", "-A", "tests.integration.apps.plain:app", "worker"],
        *["--loglevel", "INFO", "--hostname", "pdf.3@%h", "-Q", "pdf,pdf-urgent"],
    ]


def test_an_app_that_a_worker_could_not_import_is_an_error(directory: Path) -> None:
    app = Celery("nowhere", broker="memory://")
    platform = LocalPlatform(app, POOLS, directory)
    with pytest.raises(PlatformError, match="could not import the Celery app 'nowhere'") as caught:
        platform.scale({"worker": 1}, soon())
    assert caught.value.settled
    assert platform.quantities(["worker"], soon()) == {"worker": 0}


@pytest.mark.parametrize("name", ["make_celery", "tests.integration.apps.plain:app"])
def test_the_app_may_be_named(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    tmp_path.joinpath("make_celery.py").write_text("")
    monkeypatch.chdir(tmp_path)
    app = Celery("nowhere", broker="memory://")
    platform = LocalPlatform(app, POOLS, directory, app_name=name)
    assert platform.command(POOLS[0], "worker.1")[3:5] == ["-A", name]


def test_a_name_of_no_module_is_an_error(directory: Path) -> None:
    platform = LocalPlatform(plain.app, POOLS, directory, app_name="nowhere.celery:app")
    said = "middle_management_celery_app is 'nowhere.celery:app', but there is no module 'nowhere'"
    with pytest.raises(PlatformError, match=said) as caught:
        platform.scale({"worker": 1}, soon())
    assert caught.value.settled


APP = """
import sys
from celery import Celery
from celery_middle_management.app_import_path import app_path
celery_app = Celery("proj", set_as_current=True)
app_in_use = celery_app
"""
SHOW = 'path = app_path(celery_app); print(path, path.environment().get("PYTHONPATH", "-"))\n'


@pytest.mark.parametrize(
    ("files", "arguments", "cwd", "expected"),
    [
        ({"script.py": APP + SHOW}, ["script.py"], ".", "script:celery_app -"),
        ({"there/script.py": APP + SHOW}, ["there/script.py"], ".", "script:celery_app {}/there"),
        ({"pkg/__main__.py": APP + SHOW}, ["-m", "pkg"], ".", "pkg.__main__:celery_app -"),
        ({"pkg/tasks.py": APP + SHOW}, ["-m", "pkg.tasks"], ".", "pkg.tasks:celery_app -"),
        (
            {
                "proj/__init__.py": "",
                "proj/a/b.py": APP,
                "run.py": f"from proj.a.b import *\n{SHOW}",
            },
            ["run.py"],
            ".",
            "proj.a.b:celery_app -",
        ),
        (
            {"proj/__init__.py": APP, "run.py": f"import proj; from proj import *\n{SHOW}"},
            ["../run.py"],
            "proj",
            "proj:celery_app {}",
        ),
        ({"tasks.py": APP + "app = celery_app\n" + SHOW}, ["tasks.py"], ".", "tasks:app -"),
        ({"not-a-name.py": APP + SHOW}, ["not-a-name.py"], ".", None),
        ({}, ["-c", APP + SHOW], ".", None),
    ],
)
def test_how_a_worker_can_import_the_app(
    tmp_path: Path, files: dict[str, str], arguments: list[str], cwd: str, expected: str | None
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    shown = subprocess.run(
        [sys.executable, *arguments],
        cwd=tmp_path / cwd,
        env=env,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    if expected is None:
        assert "a worker could not import the Celery app 'proj'" in shown.stderr
    else:
        assert shown.stdout.strip() == expected.format(tmp_path), shown.stderr


def test_ps_tells_a_process_from_another_where_there_is_no_proc() -> None:
    process = subprocess.Popen([sys.executable, "-c", SLEEP])
    try:
        first = local_dyno._started_at_by_ps(process.pid)
        assert first is not None
        assert local_dyno._started_at_by_ps(process.pid) == first
    finally:
        process.kill()
    # Not reaped yet, it is a zombie at most.
    wait_for(lambda: local_dyno._started_at_by_ps(process.pid) is None)
    wait_for(lambda: local_dyno.started_at(process.pid) is None)
    process.wait()
    assert local_dyno._started_at_by_ps(process.pid) is None
