"""The alerts of examples/grafana, by promtool: which of them a course of the metrics sets off."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.test_grafana import GRAFANA

PROMTOOL = shutil.which("promtool")
OF = '{job="celery",pool="worker"}'
UP = {'celery_mm_up{job="celery"}': "1+0x60"}
#: Values of each minute for an hour, and the alerts that are on at the end of it.
COURSES = {
    "all is well": ({f"celery_mm_workers{OF}": "1+0x60"}, []),
    "Redis is down": ({'celery_mm_up{job="celery"}': "0+0x60"}, ["CeleryMetricsMissing"]),
    "nothing answers": ({'celery_mm_up{job="celery"}': "1+0x40"}, ["CeleryMetricsMissing"]),
    "trouble": (
        {'celery_mm_trouble{job="celery",pool="",kind="full"}': "_x50 1+0x10"},
        ["CeleryTrouble"],
    ),
    "trouble that has passed": (
        {'celery_mm_trouble{job="celery",pool="",kind="full"}': "1+0x50 stale"},
        [],
    ),
    "tasks wait for 90 s": (
        {
            f"celery_mm_task_wait_seconds_sum{OF}": "0+90x60",
            f"celery_mm_task_wait_seconds_count{OF}": "0+1x60",
        },
        ["CeleryTasksWaitLong"],
    ),
    "tasks wait for 30 s": (
        {
            f"celery_mm_task_wait_seconds_sum{OF}": "0+30x60",
            f"celery_mm_task_wait_seconds_count{OF}": "0+1x60",
        },
        [],
    ),
    "no task starts": (
        {
            f"celery_mm_task_wait_seconds_sum{OF}": "90+0x60",
            f"celery_mm_task_wait_seconds_count{OF}": "1+0x60",
        },
        [],
    ),
    "at the maximum, and tasks wait": (
        {
            f"celery_mm_workers{OF}": "5+0x60",
            f"celery_mm_workers_max{OF}": "5+0x60",
            f"celery_mm_tasks_waiting{OF}": "3+0x60",
        },
        ["CeleryStuckAtMaxWorkers"],
    ),
    "at the maximum, and no task waits": (
        {
            f"celery_mm_workers{OF}": "5+0x60",
            f"celery_mm_workers_max{OF}": "5+0x60",
            f"celery_mm_tasks_waiting{OF}": "0+0x60",
        },
        [],
    ),
    "a long task": (
        {
            'celery_mm_longest_task_seconds{job="celery",pool="worker",hostname="worker.1",'
            'name="app.encode"}': "600+60x60"
        },
        ["CeleryTaskRunsLong"],
    ),
    "a long drain": (
        {
            'celery_mm_worker_drain_seconds{job="celery",pool="worker",hostname="worker.2"}': (
                "600+60x60"
            )
        },
        ["CeleryWorkerDrainsLong"],
    ),
}


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool: apt-get install prometheus")
@pytest.mark.parametrize("course", COURSES)
def test_alerts(course: str, tmp_path: Path) -> None:
    assert PROMTOOL
    values, expected = COURSES[course]
    tests = {
        "rule_files": [str(GRAFANA / "alerts.yml")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": series, "values": each} for series, each in (UP | values).items()
                ],
                "promql_expr_test": [
                    {
                        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": "60m",
                        "exp_samples": [
                            {"labels": f'{{alertname="{name}"}}', "value": 1} for name in expected
                        ],
                    }
                ],
            }
        ],
    }
    file = tmp_path / "tests.yml"
    file.write_text(json.dumps(tests))
    told = subprocess.run(
        [PROMTOOL, "test", "rules", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr


def test_there_is_a_course_for_each_alert() -> None:
    alerts = GRAFANA.joinpath("alerts.yml").read_text().split("- alert: ")[1:]
    expected = {name for _, names in COURSES.values() for name in names}
    assert {alert.split()[0] for alert in alerts} == expected
