"""The status document as metrics, by the parsers of Prometheus' own client."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics

from celery_middle_management.core.pools import Pool
from celery_middle_management.core.presence import Run
from celery_middle_management.version import __version__
from celery_middle_management.views import metrics, readings
from celery_middle_management.web import latest_status, prometheus
from celery_middle_management.web.latest import Latest
from tests.servers import ROOT
from tests.unit.snapshots import KINDS, NOW, PDF, WORKER, Holds, looked, presence, snapshot
from tests.unit.test_status_page import everything

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
HOSTILE = 'x"} 1\ncelery_mm_up 7 # \\ \r\t\0 \ud800 <script>alert(1)</script> é' + "q" * 10_000


def period(hours: float, dollars: float | None) -> dict[str, float | None]:
    return {"hours": hours, "dollars": dollars}


def complete() -> dict[str, Any]:
    """A document with a value for every metric."""
    pools = [
        {
            "name": "worker",
            "today": period(0.5, 0.25),
            "month": period(10, 5.0),
            "always_on": period(100, 50.0),
        },
        {
            "name": "former",
            "today": period(0, None),
            "month": period(1, None),
            "always_on": period(0, None),
        },
    ]
    return everything() | {"money": {"pools": pools}}


class App:
    """What `exposition` takes for a managed app; its status is the *document*."""

    def __init__(self, document: dict[str, Any] | None) -> None:
        def read() -> dict[str, Any]:
            assert document is not None, "there is no document"
            return document

        latest_status._latest[self] = Latest(read, 0.0, "test")  # type: ignore[index]


def exposed(document: dict[str, Any] | None, accept: str) -> tuple[str, str]:
    body, content_type = prometheus.exposition(App(document), accept)  # type: ignore[arg-type]
    return body.decode(), content_type


def parsed(document: dict[str, Any] | None, accept: str = "") -> dict[tuple[str, str], float]:
    """Each value, by its name and its labels."""
    text, content_type = exposed(document, accept)
    of = openmetrics if "openmetrics" in content_type else parser
    families: Iterable[Any] = of.text_string_to_metric_families(text)  # type: ignore[attr-defined]
    samples = [sample for family in families for sample in family.samples]
    found = {
        (s.name, " ".join(f"{k}={v}" for k, v in sorted(s.labels.items()))): s.value
        for s in samples
    }
    assert len(found) == len(samples), "no two values have the same name and labels"
    return found


@pytest.mark.parametrize(
    "accept",
    [
        *("", OPENMETRICS, "*/*", "nonsense;;,", "text/plain;version=x"),
        *("application/openmetrics-text;version=x", "application/openmetrics-text;version=99.0"),
    ],
)
def test_what_the_document_says(accept: str) -> None:
    document = complete()
    [pool] = document["pools"]
    pool["totals"] |= {"started": 30, "finished": 28, "waits": 12.5, "runtime": 99.25}
    found = parsed(document, accept)
    pool_alone = {
        "workers": 4,
        "workers_needed": 3,
        "workers_min": 0,
        "workers_max": 10,
        "workers_live": 1,
        "workers_draining": 4,
        "workers_unheard": 1,
        "workers_silent": 1,
        "workers_deaf": 1,
        "workers_hired_total": 0,
        "workers_fired_total": 0,
        "boot_seconds": 10,
        "tasks_waiting": 20,
        "tasks_running": 1,
        "tasks_scheduled": 0,
        "tasks_reserved": 0,
        "tasks_published_total": 40,
        "tasks_started_total": 30,
        "tasks_finished_total": 28,
        "task_wait_seconds_count": 30,
        "task_wait_seconds_sum": 12.5,
        "task_runtime_seconds_count": 28,
        "task_runtime_seconds_sum": 99.25,
        "last_count_timestamp_seconds": NOW - 12,
    }
    others = {
        ("up", ""): 1,
        ("info", f"version={__version__}"): 1,
        ("queue_length", "pool=worker queue_name=celery"): 20,
        ("queue_length", "pool=worker queue_name=mail"): 0,
        ("queue_length", "pool=worker queue_name=pdf"): 0,
        ("worker_up", "hostname=worker.1 pool=worker"): 1,
        ("worker_up", "hostname=worker.2 pool=worker"): 0,
        ("worker_up", "hostname=worker.3 pool=worker"): 0,
        ("worker_drain_seconds", "hostname=worker.1 pool=worker"): 30,
        ("longest_task_seconds", "hostname=worker.1 name=app.encode pool=worker"): 9,
        **{("trouble", f"kind={kind} pool=worker"): 1 for kind in trouble_kinds(document)},
        ("cost_dollars", "period=today pool=worker"): 0.25,
        ("cost_dollars", "period=month pool=worker"): 5,
        ("cost_dollars", "period=always_on pool=worker"): 50,
        ("worker_time_seconds", "period=today pool=worker"): 1800,
        ("worker_time_seconds", "period=month pool=worker"): 36_000,
        ("worker_time_seconds", "period=always_on pool=worker"): 360_000,
        ("worker_time_seconds", "period=today pool=former"): 0,
        ("worker_time_seconds", "period=month pool=former"): 3600,
        ("worker_time_seconds", "period=always_on pool=former"): 0,
        ("paused", "what=hires"): 1,
        ("paused", "what=fires"): 1,
        ("dry_run", ""): 0,
        ("last_evaluation_timestamp_seconds", ""): NOW - 3,
    }
    expected = {(name, "pool=worker"): value for name, value in pool_alone.items()} | others
    assert found == {(f"celery_mm_{name}", of): value for (name, of), value in expected.items()}


def trouble_kinds(document: dict[str, Any]) -> set[str]:
    return {trouble["kind"] for trouble in document["trouble"]}


def test_what_is_not_known_is_missing_and_not_0() -> None:
    unknown = looked(Holds("broker"), snapshot(), WORKER, PDF)
    names = {name for name, _ in parsed(unknown)}
    assert "celery_mm_workers_needed" in names
    assert names.isdisjoint(
        f"celery_mm_{name}"
        for name in ("workers", "last_count_timestamp_seconds", "queue_length", "worker_up")
    )
    assert "celery_mm_last_evaluation_timestamp_seconds" not in names


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_without_the_ledger_it_is_not_up(accept: str) -> None:
    assert parsed(None, accept) == {
        ("celery_mm_up", ""): 0,
        ("celery_mm_info", f"version={__version__}"): 1,
    }


def test_trouble_is_added_up_by_kind_and_pool() -> None:
    document = everything()
    kinds = [("silent", "worker"), ("silent", "worker"), ("silent", "pdf"), ("full", None)]
    kinds += [("of a later release", "worker"), ("of another", "worker")]
    document["trouble"] = [
        {"kind": kind, "pool": pool, "what": "so", "since": None} for kind, pool in kinds
    ]
    found = {of: n for (name, of), n in parsed(document).items() if name == "celery_mm_trouble"}
    assert found == {
        "kind=silent pool=worker": 2,
        "kind=silent pool=pdf": 1,
        "kind=full pool=": 1,
        "kind=other pool=worker": 2,
    }


def test_it_knows_every_kind_of_trouble() -> None:
    assert KINDS - {"kind"} == readings.KINDS  # the table's heading


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_hostile_names_are_values_of_labels_and_nothing_else(accept: str) -> None:
    hostile = looked(
        Holds(**{HOSTILE: 3, HOSTILE + "more": 4}),
        replace(
            snapshot(
                replace(presence("worker.1", running=1), name=HOSTILE, runs=(Run(HOSTILE, NOW),))
            ),
            queues={HOSTILE: NOW, HOSTILE + "more": NOW},
        ),
        Pool("worker", None, 0, 10, 10),
    )
    hostile["trouble"] += [{"kind": HOSTILE, "pool": HOSTILE, "what": HOSTILE, "since": None}]
    found = parsed(hostile, accept)
    assert found["celery_mm_up", ""] == 1
    shown = readings.label(HOSTILE)
    assert len(shown) == readings.LONGEST_LABEL
    # Names that begin with the same characters are one, since Prometheus wants no value twice.
    assert found["celery_mm_queue_length", f"pool=worker queue_name={shown}"] == 7
    of = f"hostname={shown} name={shown} pool=worker"
    assert found["celery_mm_longest_task_seconds", of] == 0
    assert found["celery_mm_worker_up", f"hostname={shown} pool=worker"] == 1
    assert found["celery_mm_trouble", f"kind=other pool={shown}"] == 1
    assert len(exposed(hostile, accept)[0]) < 20_000


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "text/plain;version=1.0.0.x\r\n X: y",
        "application/openmetrics-text;version=1.0.0.x\r\n X: y",
    ],
)
def test_nothing_of_the_request_is_in_the_content_type(accept: str) -> None:
    _, content_type = exposed(everything(), accept)
    assert content_type.startswith(("text/plain; version=0.0.4", "application/openmetrics-text;"))
    assert "X: y" not in content_type


def test_the_units_are_told_in_openmetrics() -> None:
    text, _ = exposed(everything(), OPENMETRICS)
    assert "# UNIT celery_mm_task_wait_seconds seconds" in text
    assert text.endswith("# EOF\n")


# -- docs/metrics.md


def documented() -> dict[str, tuple[str, str]]:
    """The type and the labels of each metric that the page names."""
    rows = re.findall(
        r"^\| `(\w+)` \| (\w+) \| ([^|]+) \|", ROOT.joinpath("docs/metrics.md").read_text(), re.M
    )
    named = {name: (kind, labels) for name, kind, labels in rows}
    assert len(named) == len(rows)
    return named


def test_the_page_names_every_metric_and_no_other() -> None:
    def shown(family: metrics.Family) -> str:
        return f"{family.name}_total" if family.kind == "counter" else family.name

    families = (metrics.UP, metrics.INFO, *metrics.FAMILIES)
    assert documented() == {
        shown(each): (each.kind, ", ".join(f"`{name}`" for name in each.labels) or "none")
        for each in families
    }


def test_a_document_has_every_metric() -> None:
    told = metrics.measured(json.loads(json.dumps(complete())))
    assert {each.family for each in told} == {metrics.UP, metrics.INFO, *metrics.FAMILIES}
    assert all(each.readings for each in told)


@pytest.mark.parametrize("money", [None, {"pools": []}])
def test_without_money_no_cost_is_known(money: dict[str, Any] | None) -> None:
    names = {name for name, _ in parsed(everything() | {"money": money})}
    assert names.isdisjoint(("celery_mm_cost_dollars", "celery_mm_worker_time_seconds"))
    assert "celery_mm_workers" in names
