"""Settings that are wrong: publishing and workers go on, and our commands and checks fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.users_project import Project
from tests.servers import start_worker, wait_for

MISSING = "CELERY_MIDDLE_MANAGEMENT_HEROKU_API_KEY is required on Heroku"


@pytest.fixture
def project(tmp_path: Path, redis_url: str) -> Project:
    return Project(tmp_path, redis_url)


def test_publishing_goes_on_and_says_so(project: Project) -> None:
    done = project.run(
        "-c",
        "from proj.celery import *\n"
        "for task in (one, two, three) * 2: task.delay()\n"
        "assert {one.name, two.name, three.name} <= set(app.tasks)\n",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("is not managed") == 1
    assert f"the app 'proj' is not managed: {MISSING}" in done.stderr
    assert "MIDDLE_MANAGEMENT_ENABLED=false" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "celery", "-A", "proj", "mm", "status"],
        ["manage.py", "check"],
    ],
    ids=["status", "check"],
)
def test_commands_and_checks_fail_with_the_same_words(project: Project, command: list[str]) -> None:
    done = project.run(*command)
    assert done.returncode in {1, 2}, done.stdout
    assert MISSING in done.stderr
    assert "Traceback" not in done.stderr


def test_no_worker_is_kept_from_working(project: Project) -> None:
    with start_worker("proj", "-P", "solo", cwd=project.directory, env=project.env) as worker:
        done = project.run("-c", "from proj.celery import *\none.delay(); two.delay()")
        assert done.returncode == 0, done.stderr
        wait_for(lambda: worker.log.count("succeeded in") == 2, message=lambda: worker.log)
        assert worker.log.count(f"the app 'proj' is not managed: {MISSING}") == 1
        assert "Traceback" not in worker.log


def test_a_check_says_how_to_be_off(project: Project) -> None:
    done = project.run("manage.py", "check")
    assert "celery_middle_management.E001" in done.stderr
    assert "MIDDLE_MANAGEMENT_ENABLED=false" in done.stderr


def test_switched_off_by_the_environment_all_is_as_without_us(project: Project) -> None:
    off = {"MIDDLE_MANAGEMENT_ENABLED": "false"}
    done = project.run("manage.py", "check", **off)
    assert done.returncode == 0, done.stderr
    done = project.run("-c", "from proj.celery import *\none.delay()", **off)
    assert (done.returncode, done.stderr) == (0, "")
    done = project.run("-m", "celery", "-A", "proj", "mm", "status", **off)
    assert done.returncode == 2
    assert "not enabled" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "env", [{"EAGER": "1"}, {"BROKER_URL": "memory://"}, {}], ids=["eager", "memory", "redis"]
)
@pytest.mark.parametrize(
    "command",
    [["manage.py", "test"], ["-m", "pytest", "-q"], ["flask_tests.py"]],
    ids=["django", "pytest", "flask"],
)
def test_no_suite_of_a_user_fails_on_a_laptop(
    project: Project, env: dict[str, str], command: list[str]
) -> None:
    del project.env["DYNO"]
    done = project.run(*command, **env)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr
    assert "ERROR" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("place", [{}, {"DYNO": "run.1"}], ids=["laptop", "dyno"])
def test_no_command_of_django_fails_but_a_check_on_a_dyno(
    project: Project, place: dict[str, str]
) -> None:
    del project.env["DYNO"]
    for command in (["check"], ["collectstatic", "--noinput"], ["migrate"], ["test"]):
        done = project.run("manage.py", *command, **place)
        assert (done.returncode == 0) == (command != ["check"] or not place), done.stderr
