"""The commands of a Procfile as `mm doctor` reads them."""

from __future__ import annotations

import pytest

from celery_middle_management.doctor.command import WorkerCommand, starts_no_worker, worker_command


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("celery -A proj worker", WorkerCommand()),
        ("celery --app=proj worker -Q a,b -c 2", WorkerCommand(("a", "b"))),
        ("bin/env celery -A proj worker --queues=a -E -B", WorkerCommand(("a",), beat=True)),
        ("celery -A proj worker -Qa --beat --autoscale 4,1", WorkerCommand(("a",), True, True)),
        ("celery -A proj worker -P threads", WorkerCommand(execution="threads")),
        ("newrelic-admin run-program celery -A p worker", WorkerCommand()),
        ("celery -A proj beat", None),
        ("bin/start", None),
        ("celery 'worker", None),
    ],
)
def test_commands_are_read(command: str, expected: WorkerCommand | None) -> None:
    assert worker_command(command) == expected


@pytest.mark.parametrize(
    "command",
    [
        "gunicorn proj.wsgi",
        "PORT=1 exec newrelic-admin run-program bin/gunicorn proj.wsgi",
        "poetry run uvicorn proj.asgi:app",
        "celery -A proj beat",
        "python -m celery --app proj.worker beat -l INFO",
        "celery -A proj mm run",
        "celery -A worker flower",
    ],
)
def test_what_starts_no_worker_is_told(command: str) -> None:
    assert starts_no_worker(command)
    assert worker_command(command) is None


@pytest.mark.parametrize(
    "command",
    [
        "celery -A proj worker",
        "celery -A beat worker -B",
        "python -m celery -A proj worker",
        "poetry run celery -A proj worker",
        "newrelic-admin run-program celery -A proj worker",
        'sh -c "celery -A proj worker"',
        "sh -c 'celery -A proj beat'",
        "celery multi start 2 -A proj",
        "bin/worker.sh",
        "honcho start",
        "bin/start celery beat.sh",
        "python manage.py run_worker",
        "gunicorn proj.wsgi & celery -A proj worker",
        "celery -A proj beat & exec bin/worker",
        "celery 'worker",
        "",
    ],
)
def test_what_may_start_a_worker_is_left_alone(command: str) -> None:
    assert not starts_no_worker(command)
