"""The emulator keeps the promises that other tests build on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.emulator import HerokuEmulator

LIMIT = 30.0  # s

SLEEPER = [sys.executable, "-S", "-c", "import time; print('up', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-S",
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('up', flush=True); time.sleep(600)",
]
#: Prints the id of a child process that it starts in its own group.
PARENT = [
    sys.executable,
    "-S",
    "-c",
    "import subprocess, sys, time;"
    "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)']);"
    "print(child.pid, flush=True); time.sleep(600)",
]


def eventually(condition: Callable[[], Any]) -> Any:
    give_up = time.monotonic() + LIMIT
    while not (result := condition()):
        assert time.monotonic() < give_up, "the condition was never met"
        time.sleep(0.01)
    return result


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def call(emulator: HerokuEmulator, method: str, path: str, **kwargs: Any) -> requests.Response:
    kwargs.setdefault("auth", ("", emulator.api_key))
    return requests.request(method, emulator.url + path, timeout=LIMIT, **kwargs)


def states(emulator: HerokuEmulator) -> dict[str, str]:
    return {dyno.name: dyno.state for dyno in emulator.dynos()}


def settle(emulator: HerokuEmulator, *names: str) -> None:
    """Waits until these dynos are up, and no other is there, not even one being stopped."""
    expected = [(name, "up") for name in names]
    eventually(lambda: [(dyno.name, dyno.state) for dyno in emulator.dynos()] == expected)


def logs(directory: Path, name: str) -> list[str]:
    return [log.read_text() for log in directory.glob(f"{name}.*.log")]


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[HerokuEmulator]:
    with HerokuEmulator(
        process_types={"web": 0, "worker": 0},
        command=SLEEPER,
        boot_delay=0.05,
        log_dir=tmp_path,
    ) as emulator:
        yield emulator


def test_scaling_up_starts_the_lowest_numbers_and_down_stops_the_highest(
    emulator: HerokuEmulator, tmp_path: Path
) -> None:
    answer = call(
        emulator,
        "PATCH",
        "/apps/myapp/formation",
        json={"updates": [{"type": "worker", "quantity": 3}]},
    )
    assert answer.status_code == 200
    assert [(f["type"], f["quantity"]) for f in answer.json()] == [("worker", 3)]
    assert answer.headers["RateLimit-Remaining"] == "4500"
    assert answer.headers["Request-Id"]
    settle(emulator, "worker.1", "worker.2", "worker.3")
    pids = {dyno.name: dyno.pid for dyno in emulator.dynos()}
    eventually(lambda: logs(tmp_path, "worker.3") == ["up\n"])

    emulator.scale_by_hand("worker", 1)
    settle(emulator, "worker.1")
    assert {dyno.name: dyno.pid for dyno in emulator.dynos()} == {"worker.1": pids["worker.1"]}
    assert not alive(pids["worker.3"] or 0)
    assert sorted((stop.name, stop.reason, stop.sigkilled) for stop in emulator.stops) == [
        ("worker.2", "hand", False),
        ("worker.3", "hand", False),
    ]
    assert [(c.process_type, c.before, c.after, c.by) for c in emulator.changes] == [
        ("worker", 0, 3, "api"),
        ("worker", 3, 1, "hand"),
    ]


def test_a_dyno_knows_its_name_and_the_environment(tmp_path: Path) -> None:
    code = "import os, sys, time; print(os.environ['DYNO'], os.environ['X'], sys.argv, flush=True)"
    with HerokuEmulator(
        process_types={"worker": 1},
        command=[sys.executable, "-c", f"{code}; time.sleep(600)", "$DYNO"],
        env={"X": "from the test"},
        boot_delay=0,
        log_dir=tmp_path,
    ):
        eventually(lambda: "worker.1 from the test ['-c', 'worker.1']\n" in logs(tmp_path, "*"))


def test_a_dyno_that_is_still_booting_never_starts(tmp_path: Path) -> None:
    with HerokuEmulator(
        process_types={"worker": 1}, command=SLEEPER, boot_delay=600, log_dir=tmp_path
    ) as emulator:
        assert states(emulator) == {"worker.1": "starting"}
        emulator.scale_by_hand("worker", 0)
        eventually(lambda: emulator.dynos() == [])
        assert [stop.sigkilled for stop in emulator.stops] == [False]
    assert logs(tmp_path, "*") == []


def test_sigterm_reaches_every_process_of_a_dyno(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, time\n"
        "got = []\n"
        "signal.signal(signal.SIGTERM, lambda *_: got.append('TERM'))\n"
        "child = os.fork()\n"
        "print('up', flush=True)\n"
        "while not got: time.sleep(0.01)\n"
        "if child: os.wait()\n"
        "print('ended by', *got, flush=True)\n"
    )
    with HerokuEmulator(
        process_types={"worker": 1},
        command=[sys.executable, "-S", "-c", code],
        boot_delay=0,
        log_dir=tmp_path,
    ) as emulator:
        eventually(lambda: [log.count("up") for log in logs(tmp_path, "worker.1")] == [2])
        emulator.scale_by_hand("worker", 0)
        (stop,) = eventually(lambda: emulator.stops)
    assert not stop.sigkilled
    assert [log.count("ended by TERM") for log in logs(tmp_path, "worker.1")] == [2]


def test_a_dyno_that_does_not_end_is_killed_after_a_while(tmp_path: Path) -> None:
    with HerokuEmulator(
        process_types={"worker": 1},
        command=STUBBORN,
        boot_delay=0,
        kill_after=0.3,
        log_dir=tmp_path,
    ) as emulator:
        eventually(lambda: logs(tmp_path, "worker.1") == ["up\n"])
        emulator.scale_by_hand("worker", 0)
        (stop,) = eventually(lambda: emulator.stops)
        assert stop.sigkilled
        assert stop.at - stop.asked_at >= 0.3


def test_a_crash_takes_the_whole_dyno_and_it_comes_back(tmp_path: Path) -> None:
    with HerokuEmulator(
        process_types={"worker": 1}, command=PARENT, boot_delay=0.1, log_dir=tmp_path
    ) as emulator:
        child = int(eventually(lambda: "".join(logs(tmp_path, "worker.1"))))
        (before,) = emulator.dynos()
        emulator.kill_dyno("worker.1")
        eventually(lambda: emulator.dynos()[0].id != before.id)
        settle(emulator, "worker.1")
        (after,) = emulator.dynos()
        assert before.pid != after.pid
        eventually(lambda: not alive(child))
        assert emulator.stops == []
        with pytest.raises(KeyError):
            emulator.kill_dyno("worker.9")


def test_a_dyno_that_exits_by_itself_is_started_again_and_again(tmp_path: Path) -> None:
    with HerokuEmulator(
        process_types={"worker": 1}, command=["true"], boot_delay=0.1, log_dir=tmp_path
    ) as emulator:
        eventually(lambda: states(emulator) == {"worker.1": "crashed"})
        eventually(lambda: len(logs(tmp_path, "worker.1")) >= 3)


def test_a_deploy_runs_two_dynos_of_a_name_for_a_while(tmp_path: Path) -> None:
    with HerokuEmulator(
        process_types={"worker": 1}, command=STUBBORN, boot_delay=0, log_dir=tmp_path
    ) as emulator:
        eventually(lambda: logs(tmp_path, "worker.1") == ["up\n"])
        (before,) = emulator.dynos()
        emulator.restart_all()
        eventually(lambda: sorted(d.state for d in emulator.dynos()) == ["stopping", "up"])
        assert {dyno.name for dyno in emulator.dynos()} == {"worker.1"}
        (listed,) = call(emulator, "GET", "/apps/myapp/dynos").json()
        assert listed["id"] != before.id
        assert before.pid is not None
        os.kill(before.pid, signal.SIGKILL)
        settle(emulator, "worker.1")
        assert emulator.dynos()[0].id == listed["id"]
        assert [(stop.id, stop.reason) for stop in emulator.stops] == [(before.id, "restart")]
        emulator.kill_dyno("worker.1")  # or the emulator would wait for it to end


def test_dynos_can_be_restarted_and_stopped_over_the_api(emulator: HerokuEmulator) -> None:
    emulator.scale_by_hand("worker", 2)
    settle(emulator, "worker.1", "worker.2")
    paths = [
        ("DELETE", "/apps/myapp/dynos/worker.1", "restart", 1),
        ("POST", "/apps/myapp/dynos/worker.2/actions/stop", "hand", 1),
        ("DELETE", "/apps/myapp/dynos", "restart", 2),
        ("DELETE", "/apps/myapp/formations/worker", "restart", 2),
        ("POST", "/apps/myapp/formations/worker/actions/stop", "hand", 2),
    ]
    for method, path, reason, count in paths:
        stopped = len(emulator.stops)
        assert call(emulator, method, path).status_code == 202
        settle(emulator, "worker.1", "worker.2")
        assert [stop.reason for stop in emulator.stops[stopped:]] == [reason] * count


def test_names_of_the_fir_generation_end_at_random() -> None:
    with HerokuEmulator(
        process_types={"worker": 5}, dyno_names="fir", boot_delay=0, command=SLEEPER
    ) as emulator:
        eventually(lambda: set(states(emulator).values()) == {"up"})
        names = set(states(emulator))
        assert all(len(name) == len("worker-23z34x56y1-w78k9") for name in names)
        emulator.scale_by_hand("worker", 2)
        eventually(lambda: len(emulator.stops) == 3)
        assert set(states(emulator)) < names


def test_a_type_without_a_command_is_counted(emulator: HerokuEmulator) -> None:
    emulator.scale_by_hand("web", 2)
    settle(emulator, "web.1", "web.2")
    assert [dyno.pid for dyno in emulator.dynos()] == [None, None]


def test_reading(emulator: HerokuEmulator) -> None:
    emulator.scale_by_hand("worker", 1)
    settle(emulator, "worker.1")
    assert call(emulator, "GET", "/apps/myapp").json()["name"] == "myapp"
    assert call(emulator, "GET", "/account/rate-limits").json() == {"remaining": 4500}
    one = call(emulator, "GET", "/apps/myapp/formation/worker").json()
    assert (one["type"], one["quantity"], one["app"]["name"]) == ("worker", 1, "myapp")
    assert call(emulator, "GET", f"/apps/myapp/formation/{one['id']}").json()["type"] == "worker"
    listed = call(emulator, "GET", "/apps/myapp/formation").json()
    assert {f["type"]: f["quantity"] for f in listed} == {"web": 0, "worker": 1}
    (dyno,) = call(emulator, "GET", "/apps/myapp/dynos").json()
    assert (dyno["name"], dyno["type"], dyno["state"]) == ("worker.1", "worker", "up")
    assert call(emulator, "GET", f"/apps/myapp/dynos/{dyno['id']}").json()["name"] == "worker.1"


@pytest.mark.parametrize(
    ("method", "path", "body", "refusal"),
    [
        ("GET", "/apps/other/formation", None, (404, "not_found")),
        ("GET", "/nowhere", None, (404, "not_found")),
        ("GET", "/apps/myapp/dynos/worker.9", None, (404, "not_found")),
        ("PATCH", "/apps/myapp/formation/ghost", {"quantity": 1}, (404, "not_found")),
        ("PATCH", "/apps/myapp/formation/worker", {"quantity": -1}, (422, "invalid_params")),
        ("PATCH", "/apps/myapp/formation/worker", {"quantity": "1"}, (422, "invalid_params")),
        ("PATCH", "/apps/myapp/formation/worker", {"quantity": True}, (422, "invalid_params")),
        ("PATCH", "/apps/myapp/formation/worker", {"quantity": None}, (422, "invalid_params")),
        ("PATCH", "/apps/myapp/formation/worker", {"quantity": 101}, (422, "invalid_params")),
        ("PATCH", "/apps/myapp/formation/worker", {"amount": 1}, (422, "invalid_params")),
        ("PATCH", "/apps/myapp/formation", {}, (422, "invalid_params")),
        ("PATCH", "/apps/myapp/formation", {"updates": [{"quantity": 1}]}, (422, "invalid_params")),
        ("PATCH", "/apps/myapp/formation", [], (422, "invalid_params")),
    ],
)
def test_refusals(
    emulator: HerokuEmulator, method: str, path: str, body: Any, refusal: tuple[int, str]
) -> None:
    answer = call(emulator, method, path, json=body)
    assert (answer.status_code, answer.json()["id"]) == refusal
    assert emulator.changes == []


def test_a_batch_is_carried_out_wholly_or_not_at_all(emulator: HerokuEmulator) -> None:
    updates = [{"type": "worker", "quantity": 2}, {"type": "ghost", "quantity": 1}]
    answer = call(emulator, "PATCH", "/apps/myapp/formation", json={"updates": updates})
    assert (answer.status_code, answer.json()["resource"]) == (404, "formation")
    assert emulator.quantities() == {"web": 0, "worker": 0}


def test_authentication(emulator: HerokuEmulator) -> None:
    assert call(emulator, "GET", "/apps/myapp", auth=("", "wrong")).status_code == 401
    assert call(emulator, "GET", "/apps/myapp", auth=None).json()["id"] == "unauthorized"
    bearer = {"Authorization": f"Bearer {emulator.api_key}"}
    assert call(emulator, "GET", "/apps/myapp", auth=None, headers=bearer).status_code == 200
    assert [request.status for request in emulator.requests] == [401, 401, 200]


def test_faults(emulator: HerokuEmulator) -> None:
    path = "/apps/myapp/formation/worker"

    emulator.fault(status=429, retry_after=7, count=1)
    answer = call(emulator, "GET", path)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
    assert call(emulator, "GET", path).status_code == 200

    emulator.fault("garbage", methods=("PATCH",))
    assert call(emulator, "GET", path).status_code == 200
    with pytest.raises(ValueError, match="Expecting value"):
        call(emulator, "PATCH", path, json={"quantity": 1}).json()
    emulator.clear_faults()

    emulator.fault("drop", count=1)
    with pytest.raises(requests.ConnectionError):
        call(emulator, "PATCH", path, json={"quantity": 1})
    assert emulator.changes == []

    emulator.fault("drop_after", count=1)
    with pytest.raises(requests.ConnectionError):
        call(emulator, "PATCH", path, json={"quantity": 1})
    assert emulator.quantities()["worker"] == 1

    emulator.fault("late_after", seconds=0.3, count=1)
    assert call(emulator, "PATCH", path, json={"quantity": 2}).status_code == 200
    assert time.monotonic() - emulator.changes[-1].at >= 0.3

    emulator.fault("late_before", seconds=0.3, count=1)
    assert call(emulator, "PATCH", path, json={"quantity": 3}).status_code == 200
    assert emulator.changes[-1].at - emulator.requests[-1].at >= 0.3

    emulator.fault(status=503, lasting=600)
    assert call(emulator, "GET", path).status_code == 503
    emulator.clear_faults()
    emulator.fault(status=503, lasting=0.2)
    eventually(lambda: call(emulator, "GET", path).status_code == 200)


@pytest.mark.parametrize("kind", ["later_error", "later_hang", "later_reset"])
def test_a_write_without_a_good_answer_is_carried_out_later(
    emulator: HerokuEmulator, kind: Any
) -> None:
    emulator.fault(kind, status=503, seconds=0.5, count=1)

    def ask() -> int | None:
        body = {"quantity": 2}
        with suppress(requests.ConnectionError, requests.Timeout):
            return requests.patch(
                f"{emulator.url}/apps/myapp/formation/worker",
                json=body,
                auth=("", emulator.api_key),
                timeout=0.2,
            ).status_code
        return None

    assert ask() == (503 if kind == "later_error" else None)
    (request,) = emulator.requests
    assert (request.met, request.done_at, emulator.pending) == (kind, None, 1)
    assert emulator.changes == []

    emulator.clear_faults()
    eventually(lambda: emulator.pending == 0)
    (change,) = emulator.changes
    assert (change.before, change.after, change.by) == (0, 2, "api")
    assert change.at - request.at >= 0.5
    assert request.done_at is not None


def test_late_writes_overtake_each_other(emulator: HerokuEmulator) -> None:
    late = iter([0.6, 0.1])
    emulator.fault("later_error", status=503, seconds=lambda: next(late), count=2)
    for quantity in (1, 3):
        call(emulator, "PATCH", "/apps/myapp/formation/worker", json={"quantity": quantity})

    eventually(lambda: emulator.pending == 0)
    assert [(c.before, c.after) for c in emulator.changes] == [(0, 3), (3, 1)]


def test_a_batch_with_one_type_above_its_limit_is_refused_as_a_whole(
    emulator: HerokuEmulator,
) -> None:
    path = "/apps/myapp/formation"

    def asked(**quantities: int) -> tuple[int, str | None]:
        updates = [{"type": name, "quantity": quantity} for name, quantity in quantities.items()]
        answer = call(emulator, "PATCH", path, json={"updates": updates})
        body = answer.json()
        return answer.status_code, body.get("id") if isinstance(body, dict) else None

    emulator.limit("worker", 2)
    assert asked(web=1, worker=3) == (422, "cannot_run_above_limit")
    assert emulator.quantities() == {"web": 0, "worker": 0}
    one = call(emulator, "PATCH", f"{path}/worker", json={"quantity": 3})
    assert (one.status_code, one.json()["limit"]) == (422, 2)
    assert asked(worker=2) == (200, None)

    emulator.limit("worker", None)
    emulator.app_limit = 4
    assert asked(web=1, worker=4) == (422, "cannot_run_above_limit")
    assert asked(web=1, worker=3) == (200, None)
    emulator.app_limit = 2
    assert asked(worker=2) == (200, None)


def test_a_type_that_a_deploy_removes_is_missing_until_another_brings_it_back(
    emulator: HerokuEmulator,
) -> None:
    emulator.scale_by_hand("worker", 1)
    settle(emulator, "worker.1")

    emulator.remove_type("worker")
    updates = {"updates": [{"type": "web", "quantity": 1}, {"type": "worker", "quantity": 1}]}
    answer = call(emulator, "PATCH", "/apps/myapp/formation", json=updates)
    assert (answer.status_code, answer.json()["resource"]) == (404, "formation")
    eventually(lambda: emulator.dynos() == [])

    emulator.add_type("worker")
    assert emulator.quantities() == {"web": 0, "worker": 0}
    assert [(c.before, c.after, c.by) for c in emulator.changes] == [(0, 1, "hand"), (1, 0, "hand")]


def ask_in_a_thread(emulator: HerokuEmulator) -> tuple[threading.Thread, list[Exception]]:
    """Begins a request, which is expected to get no answer."""
    errors: list[Exception] = []

    def ask() -> None:
        try:
            call(emulator, "GET", "/apps/myapp")
        except requests.ConnectionError as error:
            errors.append(error)

    asked = len(emulator.requests)
    thread = threading.Thread(target=ask)
    thread.start()
    eventually(lambda: len(emulator.requests) > asked)
    return thread, errors


def test_a_request_that_hangs_is_dropped_when_the_faults_are_cleared(
    emulator: HerokuEmulator,
) -> None:
    emulator.fault("hang")
    thread, errors = ask_in_a_thread(emulator)
    assert emulator.requests[0].status is None
    emulator.clear_faults()
    thread.join(LIMIT)
    assert len(errors) == 1
    assert call(emulator, "GET", "/apps/myapp").status_code == 200


def test_nothing_is_left_behind_even_after_an_exception(tmp_path: Path) -> None:
    threads = set(threading.enumerate())
    session = requests.Session()
    pids: list[int] = []

    def fail() -> None:
        with HerokuEmulator(
            process_types={"worker": 2}, command=PARENT, boot_delay=0, log_dir=tmp_path
        ) as emulator:
            session.get(emulator.url, timeout=LIMIT)  # an idle connection stays open
            eventually(lambda: len("".join(logs(tmp_path, "*")).split()) == 2)
            pids.extend(dyno.pid for dyno in emulator.dynos() if dyno.pid)
            emulator.fault("hang")
            ask_in_a_thread(emulator)
            raise RuntimeError("on purpose")

    with session, pytest.raises(RuntimeError, match="on purpose"):
        fail()
    pids.extend(int(pid) for pid in "".join(logs(tmp_path, "*")).split())
    assert len(pids) == 4
    eventually(lambda: not any(alive(pid) for pid in pids))
    eventually(lambda: set(threading.enumerate()) <= threads)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_from_the_command_line_its_dynos_die_with_it(tmp_path: Path, signum: int) -> None:
    command = [sys.executable, "-m", "tests.emulator", "worker=1", "--boot-delay", "0"]
    emulator = subprocess.Popen(
        [*command, "--log-dir", str(tmp_path), "--command", *PARENT],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert emulator.stdout is not None
        url = emulator.stdout.readline().strip()
        answer = requests.get(f"{url}/apps/myapp", auth=("", "emulated-key"), timeout=LIMIT)
        assert answer.status_code == 200
        child = int(eventually(lambda: "".join(logs(tmp_path, "worker.1"))))
        group = os.getpgid(child)
        assert alive(group)
        emulator.send_signal(signum)
        assert emulator.wait(LIMIT) == (0 if signum == signal.SIGTERM else -signum)
        eventually(lambda: not alive(group) and not alive(child))
    finally:
        emulator.kill()
        emulator.communicate()


def test_a_command_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="no-such-program"):
        HerokuEmulator(command=["no-such-program"])
