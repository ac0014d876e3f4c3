"""The queries of examples/grafana name metrics and labels that a real exposition has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pytest

from tests.servers import ROOT
from tests.unit.test_metrics import complete, parsed

GRAFANA = ROOT / "examples" / "grafana"
#: The labels that Prometheus itself adds to each value.
ADDED = {"job", "instance"}
NAME = re.compile(r"\bcelery_mm_\w+")
SELECTOR = re.compile(r"\b(celery_mm_\w+)\{([^}]*)\}")


class Query(NamedTuple):
    """An expression, and the labels that its legend or its message shows."""

    where: str
    text: str
    shows: frozenset[str] = frozenset()


def of_the_dashboard() -> Iterator[Query]:
    dashboard = json.loads(GRAFANA.joinpath("dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            shows = frozenset(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            yield Query(panel["title"], target["expr"], shows)
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
            assert found, variable["definition"]
            assert variable["query"]["query"] == variable["definition"]
            yield Query(variable["name"], f"max by ({found[2]}) ({found[1]})")


def of_the_alerts() -> Iterator[Query]:
    rules = GRAFANA.joinpath("alerts.yml").read_text().split("- alert: ")[1:]
    for rule in rules:
        found = re.search(r"^ +expr: (?:>-)?(.+?)(?=^ +(?:for|labels):)", rule, re.M | re.S)
        assert found, rule
        shows = frozenset(re.findall(r"\$labels\.(\w+)", rule))
        yield Query(rule.split()[0], found[1].strip(), shows)


QUERIES = [*of_the_dashboard(), *of_the_alerts()]


@pytest.fixture(scope="module")
def labels() -> Mapping[str, set[str]]:
    """The labels of each name in an exposition."""
    found: dict[str, set[str]] = {}
    for name, of in parsed(complete()):
        found.setdefault(name, set()).update(re.findall(r"(\w+)=", of))
    return found


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.where)
def test_each_query_names_metrics_and_labels_that_there_are(
    query: Query, labels: Mapping[str, set[str]]
) -> None:
    names = NAME.findall(query.text)
    assert names
    assert set(names) <= labels.keys()
    for name, selector in SELECTOR.findall(query.text):
        assert {*re.findall(r"(\w+)=~?\"", selector)} <= labels[name] | ADDED
    for grouped in re.findall(r"\bby \(([^)]+)\)", query.text):
        assert {*grouped.split(", ")} <= set().union(*(labels[name] for name in names)) | ADDED
        assert query.shows <= {*grouped.split(", ")}


def test_it_finds_the_queries() -> None:
    assert len([*of_the_dashboard()]) > 25
    assert len([*of_the_alerts()]) == 6
    parts = (
        "waiting",
        "running",
        "scheduled",
        "needed",
        "wait_seconds",
        "drain",
        "trouble",
        "cost",
    )
    assert all(any(part in query.text for query in of_the_dashboard()) for part in parts)


def test_a_wrong_query_is_found(labels: Mapping[str, set[str]]) -> None:
    for wrong in (
        'celery_mm_tasks{pool="x"}',
        'celery_mm_up{pool="x"}',
        "max by (x) (celery_mm_up)",
    ):
        with pytest.raises(AssertionError):
            test_each_query_names_metrics_and_labels_that_there_are(Query("", wrong), labels)
