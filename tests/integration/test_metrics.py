"""`mm run --metrics-port`, scraped: real Redis and workers, and Prometheus itself if it is here."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from prometheus_client import parser

from celery_middle_management.app_setup import enabled_app_of
from celery_middle_management.demo.redis_server import RedisServer, free_port
from celery_middle_management.web.latest_status import FRESH
from celery_middle_management.web.prometheus import exposition
from tests.integration.local_workers import LocalWorkers
from tests.integration.test_cli import APP, KEY, command, environment, heroku, mm
from tests.integration.test_status_for_programs import app_with
from tests.servers import ROOT, wait_for
from tests.unit.test_grafana import GRAFANA, QUERIES, Query, of_the_dashboard

__all__ = ["heroku"]

#: Panels that show nothing while all goes well, or where the platform has no prices.
MAY_BE_EMPTY = {"Trouble", "Drains", "Cost", "Saved this month", "Paid worker time, today"}
PROMETHEUS = shutil.which("prometheus")


class Run:
    """A process of `mm run` that serves metrics."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log
        wait_for(lambda: "metrics at" in self.log or process.poll() is not None)
        found = re.search(r"metrics at (http://127\.0\.0\.1:(\d+)/metrics)", self.log)
        assert found, self.log
        self.url, self.port = found[1], int(found[2])

    @property
    def log(self) -> str:
        return self._log.read_text()

    def scrape(self) -> dict[str, float]:
        """Each value, by its name and labels, the names without `celery_mm_`."""
        with urllib.request.urlopen(self.url, timeout=30) as answer:
            text = answer.read().decode()
        return {
            " ".join([s.name.removeprefix("celery_mm_"), *(s.labels.values())]): s.value
            for family in parser.text_string_to_metric_families(text)
            for s in family.samples
        }


@contextmanager
def run(env: Mapping[str, str], log: Path, *options: str) -> Iterator[Run]:
    """`mm run`, on a port that is free."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command("run", "--metrics-port", "0", *options),
            env={**os.environ, **env},
            cwd=ROOT,
            stderr=output,
        )
    try:
        yield Run(process, log)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_without_redis_it_is_not_up() -> None:
    managed = enabled_app_of(app_with(f"redis://127.0.0.1:{free_port()}"))
    assert b"\ncelery_mm_up 0.0\n" in exposition(managed)[0]


@pytest.mark.slow
def test_it_is_up_until_redis_is_down_and_then_again(tmp_path: Path) -> None:
    with RedisServer(appendonly=True) as server:
        # Its user needs no password, and any is right.
        env = environment(server.url.replace("://", "://default:hunter2@"))
        with run(env, tmp_path / "log") as on:
            found = on.scrape()
            assert found["up"] == 1
            assert found["workers_max worker"] == 5
            server.stop()
            wait_for(lambda: on.scrape() == {"up": 0, "info 0.1.0": 1}, 60, lambda: on.log)
            server.restart()
            wait_for(lambda: on.scrape().get("workers_needed worker") == 0, 60, lambda: on.log)
            assert "hunter2" not in on.log
            assert KEY not in on.log


@pytest.mark.slow
def test_scrapers_that_hang_keep_it_neither_from_its_work_nor_from_ending(
    redis_url: str, heroku: Any, tmp_path: Path
) -> None:
    env = environment(redis_url, heroku)
    with run(env, tmp_path / "log") as on:
        clients = [socket.create_connection(("127.0.0.1", on.port)) for _ in range(20)]
        assert mm(env, "slack", "3", "60").returncode == 0
        wait_for(lambda: heroku.quantities()["worker"] > 0, 60, lambda: on.log)
    for client in clients:
        client.close()


def test_a_taken_port(redis_url: str) -> None:
    env = environment(redis_url)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told = mm(env, "run", "--metrics-port", port)
    assert told.returncode == 1
    assert told.stderr.endswith(
        f"metrics cannot be served at port {port} of 127.0.0.1: Address already in use\n"
    )


def test_without_prometheus_client(redis_url: str) -> None:
    arguments = ["-A", APP, "mm", "run", "--metrics-port", "0"]
    code = (
        "import sys; from celery.__main__ import main; sys.modules['prometheus_client'] = None; "
        f"sys.argv = ['celery', *{arguments}]; main()"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment(redis_url)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 1
    assert told.stderr.endswith(
        "--metrics-port needs prometheus_client: pip install 'celery-middle-management[metrics]'\n"
    )
    assert "Traceback" not in told.stderr


def test_the_other_commands_do_without_prometheus_client(redis_url: str) -> None:
    code = (
        "import sys; sys.modules['prometheus_client'] = None; import celery_middle_management.cli"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


# -- with real workers, and with Prometheus itself


@pytest.fixture
def on_this_machine(redis_url: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of an app whose workers are processes of this machine."""
    yield {
        "BROKER_URL": redis_url,
        "MIDDLE_MANAGEMENT_PLATFORM": "local",
        "MIDDLE_MANAGEMENT_MAX_WORKERS": "2",
        "MIDDLE_MANAGEMENT_JOBS_PER_WORKER": "4",
        "MIDDLE_MANAGEMENT_CALL_INTERVAL": "1",
        "MIDDLE_MANAGEMENT_COUNT_INTERVAL": "5",
        # The directory of the workers is below it.
        "TMPDIR": str(tmp_path),
    }
    for left in tmp_path.glob("celery-middle-management-*/*"):
        LocalWorkers(Celery(), (), left).stop_all(time.monotonic() + 60.0)


COUNTERS = (
    *("tasks_published_total worker", "tasks_started_total worker", "tasks_finished_total worker"),
    *("workers_hired_total worker", "workers_fired_total worker"),
    *("task_wait_seconds_count worker", "task_wait_seconds_sum worker"),
    *("task_runtime_seconds_count worker", "task_runtime_seconds_sum worker"),
)


def told_by(document: Mapping[str, Any]) -> dict[str, float]:
    """What a scrape says if it agrees with the status, without times."""
    [pool] = document["pools"]
    workers, tasks, totals = pool["workers"], pool["tasks"], pool["totals"]
    return {
        "workers worker": workers["current"],
        "workers_needed worker": workers["needed"],
        "workers_live worker": len(workers["live"]),
        "workers_draining worker": len(workers["draining"]),
        **{f"worker_up {name} worker": 1 for name in workers["live"]},
        **{f"tasks_{name} worker": tasks[name] for name in ("waiting", "running", "reserved")},
        "tasks_scheduled worker": tasks["scheduled"],
        **{f"tasks_{n}_total worker": totals[n] for n in ("published", "started", "finished")},
        **{f"workers_{n}_total worker": totals[n] for n in ("hired", "fired")},
        "task_wait_seconds_sum worker": totals["waits"],
        "task_runtime_seconds_sum worker": totals["runtime"],
        **{f"queue_length worker {q['name']}": q["ready"] for q in document["queues"]},
    }


def publish(env: Mapping[str, str], code: str) -> None:
    subprocess.run(
        [sys.executable, "-c", f"from {APP} import *\n{code}"],
        env={**os.environ, **env},
        cwd=ROOT,
        check=True,
        timeout=60,
    )


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_its_figures_are_those_of_the_status_and_counters_only_grow(
    on_this_machine: dict[str, str], tmp_path: Path
) -> None:
    env = on_this_machine
    scrapes: list[dict[str, float]] = []

    def scrape() -> dict[str, float]:
        scrapes.append(on.scrape())
        return scrapes[-1]

    def agree() -> bool:
        status = told_by(json.loads(mm(env, "status", "--json").stdout))
        time.sleep(FRESH)
        return scrape().items() >= status.items()

    def told() -> str:
        return f"{scrapes[-1]}\n{on.log}"

    with run(env, tmp_path / "log") as on:
        assert scrape()["tasks_published_total worker"] == 0
        publish(env, "for _ in range(6): work.delay(30)\nwork.apply_async(countdown=600)")
        wait_for(lambda: scrape()["tasks_running worker"] >= 2, 60, told)
        wait_for(agree, 60, told)
        assert scrapes[-1]["tasks_running worker"] >= 2
        assert any(name.startswith("longest_task_seconds") for name in scrapes[-1])
        wait_for(lambda: scrape()["workers_fired_total worker"] == 2, 200, told)
        wait_for(agree, 60, told)
    last = scrapes[-1]
    assert last["tasks_finished_total worker"] == last["task_runtime_seconds_count worker"] == 6
    assert last["tasks_scheduled worker"] == 1
    assert last["workers_hired_total worker"] == 2
    assert last["task_runtime_seconds_sum worker"] >= 6 * 30
    for counter in COUNTERS:
        values = [each[counter] for each in scrapes]
        assert values == sorted(values), counter


def ask(port: int, what: str, **parameters: str) -> Any:
    """An answer of Prometheus' HTTP API."""
    url = f"http://127.0.0.1:{port}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        told = json.load(answer)
    assert told["status"] == "success"
    return told["data"]


@contextmanager
def prometheus(directory: Path, scraped: int) -> Iterator[int]:
    """Prometheus with the example's configuration, scraping a port every second; its own port."""
    assert PROMETHEUS
    config = GRAFANA.joinpath("prometheus.yml").read_text()
    config = config.replace(":9808", f":{scraped}").replace("15s", "1s")
    directory.joinpath("prometheus.yml").write_text(config)
    shutil.copy(GRAFANA / "alerts.yml", directory)
    port = free_port()
    options = (f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={directory}/data")
    with directory.joinpath("prometheus.log").open("wb") as output:
        process = subprocess.Popen(
            [PROMETHEUS, f"--config.file={directory}/prometheus.yml", *options],
            stdout=output,
            stderr=output,
        )
    try:
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.skipif(PROMETHEUS is None, reason="no prometheus: apt-get install prometheus")
def test_prometheus_scrapes_it_and_answers_every_query_of_the_dashboard_and_the_alerts(
    on_this_machine: dict[str, str], tmp_path: Path
) -> None:
    env = on_this_machine

    answered: set[Query] = set()

    def up() -> bool:
        try:
            return bool(ask(port, "query", query="celery_mm_tasks_running > 0")["result"])
        except OSError:
            return False

    def answers() -> bool:
        for query in QUERIES:
            text = re.sub(r"\$(job|pool)", ".*", query.text).replace("$__rate_interval", "30s")
            if ask(port, "query", query=text)["result"]:
                answered.add(query)
        return {q for q in of_the_dashboard() if q.where not in MAY_BE_EMPTY} <= answered

    with run(env, tmp_path / "log") as on, prometheus(tmp_path, on.port) as port:
        publish(env, "for _ in range(12): work.delay(3)")
        wait_for(up, 90, tmp_path.joinpath("prometheus.log").read_text)
        wait_for(answers, 120, lambda: f"no answer: {set(of_the_dashboard()) - answered}")
        [group] = ask(port, "rules")["groups"]
        assert len(group["rules"]) == 6
        wait_for(lambda: {r["health"] for r in ask(port, "rules")["groups"][0]["rules"]} == {"ok"})
        [target] = ask(port, "targets")["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
