"""The emulator's one-off dynos follow Heroku's rules."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from heroku3.api import Heroku as HerokuClient

from tests.emulator import DynoInfo, HerokuEmulator

from .test_emulator import PARENT, SLEEPER, STUBBORN, alive, call, eventually, logs, settle

PATH = "/apps/myapp/dynos"
FOREVER = shlex.join(SLEEPER)


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[HerokuEmulator]:
    with HerokuEmulator(
        process_types={"web": 0, "worker": 0},
        command=SLEEPER,
        env={"X": "of the app", "Y": "of the app"},
        boot_delay=0.05,
        log_dir=tmp_path,
    ) as emulator:
        yield emulator


def post(emulator: HerokuEmulator, command: str = FOREVER, **more: Any) -> requests.Response:
    return call(emulator, "POST", PATH, json={"command": command, **more})


def run(emulator: HerokuEmulator, command: str = FOREVER, **more: Any) -> dict[str, Any]:
    answer = post(emulator, command, **more)
    assert answer.status_code == 201, answer.text
    dyno: dict[str, Any] = answer.json()
    return dyno


def one_offs(emulator: HerokuEmulator) -> list[DynoInfo]:
    return [dyno for dyno in emulator.dynos() if dyno.one_off]


def is_up(emulator: HerokuEmulator, *names: str) -> bool:
    return {dyno.name for dyno in emulator.dynos() if dyno.state == "up"} >= set(names)


def listed(emulator: HerokuEmulator) -> dict[str, dict[str, Any]]:
    return {dyno["name"]: dyno for dyno in call(emulator, "GET", PATH).json()}


def kill(emulator: HerokuEmulator) -> None:
    """All there are, though they are being stopped."""
    for dyno in emulator.dynos():
        assert dyno.pid is not None
        os.kill(dyno.pid, signal.SIGKILL)


def test_it_is_answered_as_heroku_does_and_listed_beside_the_formation(
    emulator: HerokuEmulator,
) -> None:
    emulator.scale_by_hand("worker", 1)
    settle(emulator, "worker.1")
    dyno = run(emulator, attach=False, force_no_tty=None)
    assert {name: dyno[name] for name in ("attach_url", "command", "size", "state", "type")} == {
        "attach_url": None,
        "command": FOREVER,
        "size": "Standard-1X",
        "state": "starting",
        "type": "run",
    }
    assert re.fullmatch(r"run\.\d{4}", dyno["name"])
    assert dyno["app"]["name"] == "myapp"
    assert dyno["release"]["version"] == 1
    assert dyno.keys() >= {"id", "created_at", "updated_at"}

    eventually(lambda: is_up(emulator, dyno["name"]))
    dynos = listed(emulator)
    assert dynos.keys() == {"worker.1", dyno["name"]}
    assert dynos[dyno["name"]]["state"] == "up"
    assert dynos["worker.1"]["release"] == dyno["release"]
    assert dynos["worker.1"]["command"] == " ".join(SLEEPER)
    for identity in (dyno["id"], dyno["name"]):
        assert call(emulator, "GET", f"{PATH}/{identity}").json()["id"] == dyno["id"]
    assert emulator.quantities() == {"web": 0, "worker": 1}


def test_heroku3_runs_and_kills_it(emulator: HerokuEmulator) -> None:
    session = requests.Session()
    session.auth = ("", emulator.api_key)
    client = HerokuClient(session=session)  # from_key() would ask the true Heroku
    client._heroku_url = emulator.url
    app = client.app("myapp")
    dyno = app.run_command_detached(FOREVER, size="standard-2x", env={"A": "b"})
    assert (dyno.type, dyno.size, dyno.release.version) == ("run", "Standard-2X", 1)
    assert [d.name for d in app.dynos()] == [dyno.name]
    assert dyno.kill()
    (stop,) = eventually(lambda: emulator.stops)
    assert (stop.id, stop.reason) == (dyno.id, "api")


def test_its_environment_is_the_apps_and_its_own(emulator: HerokuEmulator, tmp_path: Path) -> None:
    names = ("DYNO", "X", "Y", "Z")
    code = f"import os, sys; print([os.environ.get(n) for n in {names}], sys.argv[1:], flush=True)"
    command = shlex.join([sys.executable, "-S", "-c", code, "$DYNO", "two words"])
    env = {"Y": "of the request", "Z": "of the request", "DYNO": "no"}
    dyno = run(emulator, command, env=env)
    (info,) = one_offs(emulator)
    assert (info.name, info.env, info.command) == (dyno["name"], env, command)
    expected = [dyno["name"], "of the app", "of the request", "of the request"]
    eventually(
        lambda: logs(tmp_path, dyno["name"]) == [f"{expected} {[dyno['name'], 'two words']}\n"]
    )


@pytest.mark.parametrize("command", ["true", "false", "no-such-program", "echo 'open"])
def test_it_is_gone_when_its_command_ends_however_it_ends(
    emulator: HerokuEmulator, tmp_path: Path, command: str
) -> None:
    dyno = run(emulator, command)
    eventually(lambda: listed(emulator) == {})
    assert len(logs(tmp_path, dyno["name"])) == 1
    assert (emulator.dynos(), emulator.stops) == ([], [])


def test_a_crash_is_its_end_and_that_of_its_children(
    emulator: HerokuEmulator, tmp_path: Path
) -> None:
    dyno = run(emulator, shlex.join(PARENT))
    child = int(eventually(lambda: "".join(logs(tmp_path, dyno["name"]))))
    emulator.kill_dyno(dyno["name"])
    eventually(lambda: emulator.dynos() == [] and not alive(child))


def test_a_directory_that_is_not_there_ends_it(tmp_path: Path) -> None:
    with HerokuEmulator(boot_delay=0, process_types={}, cwd=tmp_path / "nowhere") as emulator:
        run(emulator)
        eventually(lambda: emulator.dynos() == [])


def test_the_name_of_a_process_type_stands_for_its_definition(
    emulator: HerokuEmulator, tmp_path: Path
) -> None:
    dyno = run(emulator, "worker")
    formation = call(emulator, "GET", "/apps/myapp/formation/worker").json()
    assert (dyno["command"], dyno["type"]) == (formation["command"], "run")
    eventually(lambda: logs(tmp_path, dyno["name"]) == ["up\n"])

    emulator.show_command("worker", "celery worker")
    other = run(emulator, "worker", type="worker")
    assert (other["command"], other["type"]) == ("celery worker", "worker")
    assert re.fullmatch(r"worker\.\d{4}", other["name"])
    eventually(lambda: logs(tmp_path, other["name"]) == ["up\n"])
    dynos = listed(emulator)
    assert dynos[dyno["name"]]["command"] == formation["command"]
    assert dynos[other["name"]]["command"] == "celery worker"

    without = run(emulator, "web")
    eventually(lambda: is_up(emulator, without["name"]))
    assert [d.pid for d in emulator.dynos() if d.name == without["name"]] == [None]


def test_scaling_and_restarts_leave_it_alone(emulator: HerokuEmulator) -> None:
    dyno = run(emulator, type="worker")
    eventually(lambda: is_up(emulator, dyno["name"]))
    emulator.scale_by_hand("worker", 2)
    settle(emulator, "worker.1", "worker.2", dyno["name"])
    emulator.restart_all()
    for method, path in [
        ("DELETE", PATH),
        ("DELETE", "/apps/myapp/formations/worker"),
        ("POST", "/apps/myapp/formations/worker/actions/stop"),
    ]:
        assert call(emulator, method, path).status_code == 202
    emulator.scale_by_hand("worker", 0)
    emulator.remove_type("worker")
    settle(emulator, dyno["name"])
    assert dyno["id"] == emulator.dynos()[0].id
    assert dyno["id"] not in {stop.id for stop in emulator.stops}


def test_a_deploy_is_a_release_that_one_off_dynos_do_not_see(emulator: HerokuEmulator) -> None:
    emulator.scale_by_hand("worker", 1)
    settle(emulator, "worker.1")
    old = run(emulator)
    (before,) = [dyno.id for dyno in emulator.dynos() if not dyno.one_off]
    emulator.deploy()
    assert emulator.release == 2
    new = run(emulator)
    assert (new["release"]["version"], new["release"]["id"] == old["release"]["id"]) == (2, False)
    eventually(lambda: [stop.id for stop in emulator.stops] == [before])
    assert {name: dyno["release"]["version"] for name, dyno in listed(emulator).items()} == {
        "worker.1": 2,
        old["name"]: 1,
        new["name"]: 2,
    }
    assert {dyno.name: dyno.release for dyno in one_offs(emulator)} == {
        old["name"]: 1,
        new["name"]: 2,
    }


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "{name}/actions/stop"), ("POST", "{id}/actions/stop"),
                         ("DELETE", "{name}"), ("DELETE", "{id}")]
)  # fmt: skip
def test_it_can_be_stopped_over_the_api(
    emulator: HerokuEmulator, tmp_path: Path, method: str, path: str
) -> None:
    dyno = run(emulator, shlex.join(PARENT))
    child = int(eventually(lambda: "".join(logs(tmp_path, dyno["name"]))))
    answer = call(emulator, method, f"{PATH}/{path.format(**dyno)}")
    assert (answer.status_code, answer.json()) == (202, {})
    (stop,) = eventually(lambda: emulator.stops)
    assert (stop.id, stop.reason, stop.sigkilled) == (dyno["id"], "api", False)
    eventually(lambda: emulator.dynos() == [] and not alive(child))
    again = call(emulator, method, f"{PATH}/{path.format(**dyno)}")
    assert (again.status_code, again.json()["resource"]) == (404, "dyno")


def test_one_that_does_not_end_is_killed(tmp_path: Path) -> None:
    with HerokuEmulator(
        process_types={}, boot_delay=0, kill_after=0.3, log_dir=tmp_path
    ) as emulator:
        dyno = run(emulator, shlex.join(STUBBORN))
        eventually(lambda: logs(tmp_path, dyno["name"]) == ["up\n"])
        call(emulator, "POST", f"{PATH}/{dyno['name']}/actions/stop")
        (stop,) = eventually(lambda: emulator.stops)
        assert stop.sigkilled
        assert stop.at - stop.asked_at >= 0.3


def test_one_that_is_being_stopped_is_not_listed_but_counts(tmp_path: Path) -> None:
    with HerokuEmulator(process_types={}, boot_delay=0, log_dir=tmp_path) as emulator:
        emulator.one_off_limit = 1
        dyno = run(emulator, shlex.join(STUBBORN))
        eventually(lambda: logs(tmp_path, dyno["name"]) == ["up\n"])
        call(emulator, "POST", f"{PATH}/{dyno['name']}/actions/stop")
        assert listed(emulator) == {}
        assert [one.state for one in one_offs(emulator)] == ["stopping"]
        assert post(emulator).status_code == 422
        emulator.forget_most()
        assert emulator.most_one_offs == 1
        kill(emulator)
        eventually(lambda: post(emulator).status_code == 201)


def test_a_dyno_of_the_formation_that_is_stopped_comes_back_when_it_is_gone(
    tmp_path: Path,
) -> None:
    with HerokuEmulator(
        process_types={"worker": 1}, command=STUBBORN, boot_delay=0.1, log_dir=tmp_path
    ) as emulator:
        eventually(lambda: logs(tmp_path, "worker.1") == ["up\n"])
        (before,) = emulator.dynos()
        call(emulator, "POST", f"{PATH}/worker.1/actions/stop")
        emulator.scale_by_hand("worker", 1)  # which it still is
        assert [dyno.state for dyno in emulator.dynos()] == ["stopping"]
        kill(emulator)
        settle(emulator, "worker.1")
        (after,) = emulator.dynos()
        assert after.id != before.id
        assert [(stop.id, stop.reason) for stop in emulator.stops] == [(before.id, "hand")]

        eventually(lambda: sorted(logs(tmp_path, "worker.1")) == ["up\n", "up\n"])
        call(emulator, "POST", f"{PATH}/worker.1/actions/stop")
        emulator.scale_by_hand("worker", 0)
        kill(emulator)
        eventually(lambda: emulator.dynos() == [])
        assert [stop.id for stop in emulator.stops] == [before.id, after.id]


def test_time_to_live_stops_it_and_so_does_the_end_of_the_emulator() -> None:
    with HerokuEmulator(process_types={"worker": 1}, command=SLEEPER, boot_delay=0) as emulator:
        short = run(emulator, time_to_live=1)
        long = run(emulator, time_to_live=86_400)
        (stop,) = eventually(lambda: emulator.stops)
        assert (stop.id, stop.reason) == (short["id"], "time_to_live")
        assert [dyno.id for dyno in one_offs(emulator)] == [long["id"]]
        pid = eventually(lambda: one_offs(emulator)[0].pid)
    assert [(stop.id, stop.reason) for stop in emulator.stops[1:]] == [(long["id"], "end")]
    assert not alive(pid)


def test_time_to_live_counts_from_the_creation() -> None:
    with HerokuEmulator(process_types={}, boot_delay=600) as emulator:
        run(emulator, time_to_live=1)
        eventually(lambda: [stop.reason for stop in emulator.stops] == ["time_to_live"])
