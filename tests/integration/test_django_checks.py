"""``manage.py check`` in the Django example, with settings that are not right for the page."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import ROOT

pytest.importorskip("django")
EXAMPLE = ROOT / "examples" / "django"
#: Whatever this environment has, the page's libraries are there, unless a test takes them away.
COMPLETE = """
import importlib.util
import sys
from types import ModuleType

for name in ("bokeh", "bottle"):
    if importlib.util.find_spec(name) is None:
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__spec__ = importlib.util.spec_from_loader(name, None)
from proj.settings import *
"""


def manage(
    directory: Path, settings: str, *arguments: str, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run ``manage.py`` with more *settings*."""
    directory.joinpath("more_settings.py").write_text(COMPLETE + settings)
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=EXAMPLE,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "more_settings",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{directory}",
            "REDIS_URL": "redis://127.0.0.1:1/0",
            "DATABASE": str(directory / "db.sqlite3"),
            **env,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_nothing_is_wrong_with_the_example(tmp_path: Path) -> None:
    done = manage(tmp_path, "", "check")
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


@pytest.mark.parametrize("names", [("bokeh",), ("bottle", "bokeh")])
def test_the_extra_is_missing(names: tuple[str, ...], tmp_path: Path) -> None:
    settings = "".join(f"sys.modules[{name!r}] = None\n" for name in names)
    done = manage(tmp_path, settings, "check")
    assert done.returncode == 1
    assert "celery_middle_management.E002" in done.stderr
    assert f"its page needs {' and '.join(names)}." in done.stderr
    assert "pip install 'celery-middle-management[web]'" in done.stderr


def test_without_the_extra_every_other_command_runs(tmp_path: Path) -> None:
    missing = "sys.modules['bottle'] = sys.modules['bokeh'] = None\n"
    done = manage(tmp_path, missing, "showmigrations")
    assert done.returncode == 0, done.stderr
    assert "WARNINGS" in done.stderr
    assert "celery_middle_management.E002" in done.stderr


def test_the_admin_is_not_installed(tmp_path: Path) -> None:
    settings = "INSTALLED_APPS.remove('django.contrib.admin')\nROOT_URLCONF = 'more_settings'\n"
    done = manage(tmp_path, f"{settings}urlpatterns = []\n", "check")
    assert done.returncode == 1
    assert "celery_middle_management.E003" in done.stderr
    assert "whose login protects it" in done.stderr


def test_no_address_leads_to_the_admin(tmp_path: Path) -> None:
    done = manage(tmp_path, "ROOT_URLCONF = 'more_settings'\nurlpatterns = []\n", "check")
    assert done.returncode == 0, done.stderr
    assert "celery_middle_management.W003" in done.stderr


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ("", True),
        ("SESSION_COOKIE_SECURE = True\n", False),
        ("CELERY_MIDDLE_MANAGEMENT_WEB_ACTIONS = False\n", False),
    ],
)
def test_buttons_that_act_for_a_stolen_cookie(settings: str, warned: bool, tmp_path: Path) -> None:
    done = manage(tmp_path, settings, "check", "--deploy")
    assert done.returncode == 0, done.stderr
    assert ("celery_middle_management.W004" in done.stderr) is warned


def test_a_wrong_setting_is_reported_once_and_by_the_check_of_settings(tmp_path: Path) -> None:
    settings = "CELERY_MIDDLE_MANAGEMENT_WEB_ACTIONS = 'perhaps'\n"
    done = manage(tmp_path, settings, "check", "--deploy")
    assert done.returncode == 1
    assert done.stderr.count("perhaps") == 1
    assert "celery_middle_management.E001" in done.stderr


def test_switched_off_by_the_environment(tmp_path: Path) -> None:
    done = manage(tmp_path, "", "check", "--deploy", MIDDLE_MANAGEMENT_ENABLED="false")
    assert done.returncode == 0, done.stderr
    assert "celery_middle_management" not in done.stderr


def test_no_migration_of_ours(tmp_path: Path) -> None:
    done = manage(tmp_path, "", "makemigrations", "--check", "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No changes detected" in done.stdout
