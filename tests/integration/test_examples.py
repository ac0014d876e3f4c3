"""The examples, run as a person would run them: real Redis, real workers, the emulated Heroku."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from celery import Celery

from celery_middle_management.demo.redis_server import free_port
from celery_middle_management.platforms.local_dyno import kill_group, start_on_leash
from celery_middle_management.settings.model import Heroku
from celery_middle_management.settings.reading import read_settings
from tests.emulator import HerokuEmulator
from tests.integration.local_workers import LocalWorkers
from tests.integration.web_apps import Browser, basic
from tests.servers import ROOT, wait_for

EXAMPLES = ROOT / "examples"
HEROKU = EXAMPLES / "heroku"
PROCFILE = dict(
    line.split(": ", 1) for line in HEROKU.joinpath("Procfile").read_text().splitlines()
)
APP_JSON = json.loads(HEROKU.joinpath("app.json").read_text())


def command(process_type: str) -> list[str]:
    """The command of a process type, with the Python that runs the tests."""
    program, *arguments = shlex.split(PROCFILE[process_type])
    return [sys.executable, "-m", program, *arguments]


def values_of_app_json() -> dict[str, str]:
    """The config vars that the deploy button sets by itself."""
    return {name: var["value"] for name, var in APP_JSON["env"].items() if "value" in var}


class TestHerokusFiles:
    def test_app_json_sets_up_what_the_procfile_runs(self) -> None:
        assert APP_JSON["formation"].keys() == PROCFILE.keys()
        assert APP_JSON["formation"]["worker"]["quantity"] == 0
        assert any(addon.startswith("heroku-redis") for addon in APP_JSON["addons"])

    def test_app_json_asks_for_every_setting_that_is_required(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = {name: "asked-for" for name, var in APP_JSON["env"].items() if var.get("required")}
        for name, value in {**values_of_app_json(), **asked}.items():
            monkeypatch.setenv(name, value)
        app = Celery(broker="rediss://:secret@example.com:6380")
        app.conf.middle_management_enabled = True

        settings = read_settings(app)

        assert settings is not None
        assert isinstance(settings.heroku, Heroku)
        assert settings.redis_options["ssl_cert_reqs"] == "none"

    def test_the_python_version_is_one_that_we_support(self) -> None:
        version = HEROKU.joinpath(".python-version").read_text().strip()
        assert f"Python :: {version}" in ROOT.joinpath("pyproject.toml").read_text()

    def test_the_requirements_are_what_the_modules_import(self) -> None:
        names = re.findall(r"^[\w-]+", HEROKU.joinpath("requirements.txt").read_text(), re.M)
        assert names == ["celery-middle-management", "flask", "gunicorn"]

    def test_heroku_speaks_tls_with_a_self_signed_certificate(self) -> None:
        script = "from tasks import app; print(app.connection().ssl['ssl_cert_reqs'].name)"
        env = {
            **os.environ,
            **values_of_app_json(),
            "REDIS_URL": "rediss://:secret@example.com:6380",
            "MIDDLE_MANAGEMENT_HEROKU_APP": "myapp",
            "MIDDLE_MANAGEMENT_OFF_PLATFORM": "true",
            "MIDDLE_MANAGEMENT_HEROKU_API_KEY": "a-key",
        }
        run = subprocess.run(
            [sys.executable, "-c", script],
            cwd=HEROKU,
            env=env,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert run.stdout.strip() == "CERT_NONE"


class Site:
    """The example's page, and the Heroku app that it runs on."""

    def __init__(self, url: str, emulator: HerokuEmulator, logs: Path) -> None:
        self.url = url
        self.emulator = emulator
        self._logs = logs

    def get(self, path: str = "/") -> str:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return answer.read().decode()

    def post(self, **form: object) -> str:
        data = urllib.parse.urlencode(form).encode()
        with urllib.request.urlopen(self.url, data, timeout=30) as answer:
            return answer.read().decode()

    def is_up(self) -> bool:
        try:
            return "Publish" in self.get()
        except (urllib.error.URLError, ConnectionError):
            return False

    def workers(self) -> int:
        return self.emulator.quantities()["worker"]

    def sent(self) -> int:
        return self.log().count("is on its way")

    def log(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in self._logs.glob("*.log"))


@contextmanager
def deployed(redis_url: str, logs: Path, **settings: str) -> Iterator[Site]:
    """examples/heroku, deployed to an emulated Heroku."""
    api_port, page_port = free_port(), free_port()
    env = {
        **values_of_app_json(),
        "REDIS_URL": redis_url,
        "MIDDLE_MANAGEMENT_HEROKU_APP": "myapp",
        "MIDDLE_MANAGEMENT_OFF_PLATFORM": "true",
        "MIDDLE_MANAGEMENT_HEROKU_API_KEY": "emulated-key",
        "MIDDLE_MANAGEMENT_HEROKU_API_URL": f"http://127.0.0.1:{api_port}",
        "MIDDLE_MANAGEMENT_CALL_INTERVAL": "1",
        **settings,
    }
    types = {name: formation["quantity"] for name, formation in APP_JSON["formation"].items()}
    with (
        HerokuEmulator(
            process_types=types,
            command={"worker": command("worker")},
            env=env,
            cwd=HEROKU,
            log_dir=logs,
            port=api_port,
        ) as emulator,
        logs.joinpath("web.log").open("wb") as output,
    ):
        own = {"DYNO": "web.1", "PORT": str(page_port), "HOME": str(logs)}
        web_env = {**os.environ, **env, **own}
        web = start_on_leash(command("web"), output, web_env, HEROKU)
        try:
            site = Site(f"http://127.0.0.1:{page_port}", emulator, logs)
            wait_for(site.is_up, 60.0, site.log)
            yield site
        finally:
            kill_group(web)


def test_the_heroku_example_hires_for_what_its_page_publishes(
    redis_url: str, tmp_path: Path
) -> None:
    with redis.Redis.from_url(redis_url) as client:

        def connections() -> int:
            return int(client.info("clients")["connected_clients"])  # type: ignore[index]

        # The test's, and what other tests have left.
        before = most = connections()
        with deployed(redis_url, tmp_path) as site:
            assert site.workers() == 0

            site.post(count=12, seconds=0.5)

            # 12 tasks at 5 per worker
            wait_for(lambda: site.emulator.changes, message=site.log)
            assert site.emulator.changes[0].after == 3

            def all_sent() -> bool:
                nonlocal most
                most = max(most, connections())
                return site.sent() == 12

            wait_for(all_sent, 90.0, site.log)
            # Those of heroku-redis:mini, with three workers.
            assert most - before <= 20
            wait_for(lambda: site.workers() == 0, 90.0, site.log)
            assert not any(stop.sigkilled for stop in site.emulator.stops)


@pytest.mark.slow
def test_the_heroku_example_hires_basic_dynos_one_by_one(redis_url: str, tmp_path: Path) -> None:
    with deployed(redis_url, tmp_path, MIDDLE_MANAGEMENT_DYNOS="one-off") as site:
        site.emulator.size = "Basic"
        site.post(count=12, seconds=0.5)
        wait_for(lambda: site.sent() == 12, 90.0, site.log)
        assert site.emulator.most_one_offs == 3
        wait_for(lambda: not any(d.one_off for d in site.emulator.dynos()), 90.0, site.log)
        assert not site.emulator.changes


def test_the_heroku_examples_page_shows_the_status(redis_url: str, tmp_path: Path) -> None:
    pytest.importorskip("celery_middle_management.cli")
    with deployed(redis_url, tmp_path) as site:
        status = json.loads(site.get("/status"))

        [pool] = status["pools"]
        assert pool["name"] == "worker"
        assert pool["workers"]["max"] == 3
        assert pool["tasks"]["outstanding"] == 0


@pytest.mark.parametrize(
    "form", [{}, {"count": 0, "seconds": 1}, {"count": 2000, "seconds": 1}, {"count": "x"}]
)
def test_the_heroku_examples_page_refuses_nonsense(form: dict[str, object], redis_url: str) -> None:
    script = f"from web import app; print(app.test_client().post('/', data={form!r}).status_code)"
    env = {
        **os.environ,
        **values_of_app_json(),
        "REDIS_URL": redis_url,
        "MIDDLE_MANAGEMENT_HEROKU_APP": "myapp",
        "MIDDLE_MANAGEMENT_OFF_PLATFORM": "true",
        "MIDDLE_MANAGEMENT_HEROKU_API_KEY": "a-key",
    }
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=HEROKU,
        env=env,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert run.stdout.strip() == "400"


#: Of an example's README: what makes an environment, and what runs in it.
COMMAND = re.compile(r"^    python3 -m venv .* && PATH=\S+ (python .*)$", re.M)
LOCAL = [
    *("local", "django", "flask", "fastapi", "pools"),
    pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
]


#: What an example's command installs beyond the extra of the tests.
NEEDS = {"flask": ("bokeh",), "fastapi": ("bokeh", "fastapi", "uvicorn")}


@pytest.mark.slow
@pytest.mark.parametrize("example", LOCAL)
def test_an_example_runs_by_the_command_of_its_readme(
    example: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    directory = EXAMPLES / example
    for module in NEEDS.get(example, ()):
        pytest.importorskip(module)
    [line] = COMMAND.findall(directory.joinpath("README.md").read_text())
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "TMPDIR": str(tmp_path),
    }
    if example == "rabbitmq":
        env["CLOUDAMQP_URL"] = request.getfixturevalue("rabbitmq").url
    try:
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=directory,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "published" in done.stdout
        first, last = (done.stdout.split(" workers, ")[n] for n in (0, -1))
        assert first != last
        assert "fire " in last
        assert "0 waiting, 0 running" in last
    finally:
        for left in tmp_path.glob("celery-middle-management-*/*"):
            LocalWorkers(Celery(), (), left).stop_all(time.monotonic() + 60.0)


#: What serves the page in the environment that was made.
PAGE_COMMAND = re.compile(r"^    PATH=\S+ (.* sh -c '.*')$", re.M)


@pytest.mark.slow
@pytest.mark.parametrize("example", ["django", "flask", "fastapi"])
def test_an_example_shows_its_page_by_the_command_of_its_readme(
    example: str, tmp_path: Path
) -> None:
    for module in ("bokeh", *NEEDS.get(example, ())):
        pytest.importorskip(module)
    readme = EXAMPLES.joinpath(example, "README.md").read_text()
    [line] = PAGE_COMMAND.findall(readme)
    [path] = re.findall(r"<http://127.0.0.1:8000(/\S+)>", readme)
    port = free_port()
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(tmp_path),
        "DATABASE": str(tmp_path / "db.sqlite3"),
    }
    log = tmp_path / "log"
    with log.open("wb") as output:
        command = ["bash", "-c", line.replace("8000", str(port))]
        process = start_on_leash(command, output, env, EXAMPLES / example)
    try:
        browser = Browser(f"http://127.0.0.1:{port}", Authorization=basic("jo", "try-it"))

        def up() -> bool:
            try:
                return browser.ask(path).status == 200
            except OSError:
                return False

        wait_for(up, 100.0, log.read_text)
        if example == "django":
            browser.log_in("jo")
            assert "Workers and tasks of each pool, now" in browser.ask(path).text
            path += "live/"
        document = json.loads(browser.ask(f"{path}data").text)
        assert (document["visitor"], document["may_act"]) == ("jo", True)
        assert document["status"]["pools"][0]["workers"]["max"] == 3
    finally:
        process.terminate()
        kill_group(process)
        for left in tmp_path.glob("celery-middle-management-*/*"):
            LocalWorkers(Celery(), (), left).stop_all(time.monotonic() + 60.0)


@pytest.mark.slow
def test_the_readmes_app_runs_on_a_laptop_by_its_commands(tmp_path: Path) -> None:
    readme = ROOT.joinpath("README.md").read_text()
    [app] = re.findall(r"^ *```python\n( *import os\n.*?)```", readme, re.M | re.S)
    tmp_path.joinpath("proj.py").write_text(textwrap.dedent(app))
    [install, *commands] = re.findall(r"```sh\n(pip install .*?)```", readme, re.S)[0].splitlines()
    assert "[demo]" in install
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(tmp_path),
    }
    try:
        done = subprocess.run(
            ["bash", "-euc", "\n".join(commands)],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Published 20 tasks" in done.stdout
        assert "fire " in done.stdout
        assert "0 waiting, 0 running" in done.stdout.split(" workers, ")[-1]
    finally:
        for left in tmp_path.glob("celery-middle-management-*/*"):
            LocalWorkers(Celery(), (), left).stop_all(time.monotonic() + 60.0)


@pytest.mark.slow
def test_no_worker_outlives_the_redis_that_it_was_hired_by(tmp_path: Path) -> None:
    """Though the command is interrupted before its tasks are done."""
    script = tmp_path / "publish.py"
    script.write_text(
        "import time\nfrom tasks import rotate\nrotate.delay('one')\ntime.sleep(100)\n"
    )
    source = EXAMPLES.joinpath("local", "tasks.py").read_text()
    tmp_path.joinpath("tasks.py").write_text(source)
    run = [sys.executable, "-m", "celery_middle_management.demo.with_redis", sys.executable]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}

    def workers() -> list[str]:
        written = tmp_path.glob("celery-middle-management-*/*/*.json")
        pids = [json.loads(path.read_text())["pid"] for path in written]
        return [str(pid) for pid in pids if Path(f"/proc/{pid}").exists()]

    try:
        with subprocess.Popen([*run, str(script)], cwd=tmp_path, env=env, stderr=-1) as process:
            wait_for(workers, 60.0)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGTERM, said
        assert b"Stopped 1 worker." in said
        wait_for(lambda: not workers(), 60.0)
    finally:
        for left in tmp_path.glob("celery-middle-management-*/*"):
            LocalWorkers(Celery(), (), left).stop_all(time.monotonic() + 60.0)


@pytest.mark.slow
def test_local_workers_are_started_anew_by_a_shutdown(redis_url: str, tmp_path: Path) -> None:
    """As examples/systemd has it: with the code of a deploy."""
    source = tmp_path / "tasks.py"
    code = EXAMPLES.joinpath("local", "tasks.py").read_text()
    source.write_text(
        code.replace("max_workers=3", "max_workers=1, middle_management_min_workers=1")
    )
    env = {**os.environ, "REDIS_URL": redis_url, "TMPDIR": str(tmp_path)}

    def run(*arguments: str) -> None:
        subprocess.run([sys.executable, *arguments], cwd=tmp_path, env=env, check=True, timeout=60)

    def log() -> str:
        logs = tmp_path.glob("celery-middle-management-*/*/worker.1.log")
        return "\n".join(path.read_text(errors="replace") for path in logs)

    try:
        # At its end the program waits for a few seconds only, in which nothing may be hired here.
        flush = "import celery_middle_management as mm; assert mm.flush(app, 60)"
        run("-c", f"from tasks import app, rotate; rotate.delay('one'); {flush}")
        wait_for(lambda: "succeeded in " in log(), 60.0, log)
        source.write_text(source.read_text().replace("return image", "return 'by new code'"))
        run("-c", "from tasks import app; app.control.shutdown()")
        wait_for(lambda: log().count(" ready.") == 2, 60.0, log)
        run("-c", "from tasks import rotate; rotate.delay('two')")
        wait_for(lambda: "by new code" in log(), 60.0, log)
    finally:
        for left in tmp_path.glob("celery-middle-management-*/*"):
            LocalWorkers(Celery(), (), left).stop_all(time.monotonic() + 60.0)
