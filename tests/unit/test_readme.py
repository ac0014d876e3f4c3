"""What the pages say holds: snippets run, settings and commands exist, links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from celery_middle_management.cli import mm
from celery_middle_management.doctor.command import worker_command
from celery_middle_management.settings.table import TABLE

ROOT = Path(__file__).parent.parent.parent
README = ROOT.joinpath("README.md").read_text()
RECIPES = ROOT.joinpath("docs", "recipes.md").read_text()
#: The docstring that the example has in the function that the recipe shows.
LIFESPANS = (
    '    """Hire for the last tasks at the end, because no exit handler runs in uvicorn."""\n'
)
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("examples/*/*.md")),
]
#: The gem's names: one is only accepted, and the README has the other beside the key's.
NOT_OURS = {"heroku_username", "heroku_password"}
ARCHITECTURE = ROOT.joinpath("docs", "architecture.md").read_text()
PACKAGE = ROOT / "celery_middle_management"


def blocks(language: str, text: str = README) -> list[str]:
    """The code of that language, without its indentation in a list."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, re.M | re.S)
    return [re.sub(f"^{indent}", "", code, flags=re.M) for indent, code in found]


def test_it_is_short() -> None:
    assert README.count("\n") < 250


def pools_of(snippets: list[str], redis: str) -> str:
    """The pools of the app that the snippets make, and their limits."""
    env = {
        **os.environ,
        "REDIS_URL": redis,
        "MIDDLE_MANAGEMENT_ENABLED": "true",
        "MIDDLE_MANAGEMENT_HEROKU_APP": "your-app",
        "MIDDLE_MANAGEMENT_HEROKU_API_KEY": "key",
    }
    check = """
from celery_middle_management.settings.reading import read_settings
print([(p.name, p.max_workers) for p in read_settings(app).pools])
"""
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([*snippets, check])],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert not done.stderr
    return done.stdout.strip()


def test_its_python_runs_as_it_stands() -> None:
    snippets = blocks("python")
    assert len(snippets) == 2
    assert pools_of(snippets, "redis://localhost:1") == "[('worker', 10), ('pdf', 3)]"


def test_the_recipes_python_runs_in_the_readmes_app() -> None:
    django, lifespan, certificate, pools, schedule = blocks("python", RECIPES)
    names = {name.lower() for name in re.findall(r"^CELERY_MIDDLE_MANAGEMENT_(\w+)", django, re.M)}
    assert names == {"max_workers"}
    assert lifespan in ROOT.joinpath("examples/fastapi/web.py").read_text().replace(LIFESPANS, "")
    told = pools_of([blocks("python")[0], certificate, pools, schedule], "rediss://localhost:1")
    assert told == "[('worker', 10), ('films', 2)]"


def test_its_shell_commands_are_what_a_shell_takes(tmp_path: Path) -> None:
    """Those for Heroku, and git's: each is called with what the pages say."""
    called = tmp_path / "called"
    for name in ("heroku", "git"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >>{called}\n')
        program.chmod(0o755)
    scripts = [code for code in blocks("sh") if code.startswith(("heroku", "git"))]
    assert len(scripts) == 3
    scripts += re.findall(r"(?:^    heroku .*\n)+", RECIPES, re.M)
    path = f"{tmp_path}:{os.environ['PATH']}"
    for script in scripts:
        subprocess.run(["bash", "-euc", script], env={"PATH": path}, check=True, timeout=30)
    lines = called.read_text().splitlines()
    assert sum(line.startswith("heroku run celery -A proj mm ") for line in lines) >= 7
    for line in lines:
        if match := re.match(r"heroku run celery -A proj mm (\w+) ?(.*)", line):
            command = mm.commands[match[1]]
            command.make_context(match[1], match[2].split())
        for variable in re.findall(r"MIDDLE_MANAGEMENT_(\w+)", line):
            assert variable.lower() in TABLE


def test_every_variable_of_the_pages_is_a_settings() -> None:
    for page in PAGES:
        for name in re.findall(r"\bMIDDLE_MANAGEMENT_([A-Z][A-Z_]*)\b", page.read_text()):
            assert name.lower() in TABLE, (page, name)


def test_its_procfile_starts_workers_of_its_pools() -> None:
    [procfile] = blocks("procfile")
    lines = dict(line.split(": ", 1) for line in procfile.splitlines())
    assert lines.keys() == {"worker", "pdf"}
    for line in lines.values():
        command = worker_command(line)
        assert command is not None
        assert command.queues is not None


def test_it_names_every_setting_and_no_other() -> None:
    table = set(re.findall(r"^\| `middle_management_(\w+)` \|", README, re.M))
    assert table == set(TABLE) - NOT_OURS


def test_its_commands_exist() -> None:
    said = "\n".join(page.read_text() for page in PAGES)
    used = re.findall(r"\bmm ([a-z]+)((?: --[a-z-]+)*)", said)
    assert {name for name, _ in used} >= set(mm.commands)
    for name, options in used:
        if name not in mm.commands:
            continue  # `mm` in prose
        known = {opt for parameter in mm.commands[name].params for opt in parameter.opts}
        assert set(options.split()) <= known
    listed = re.findall(r"^\| `celery (?:-A proj )?mm (\w+)", README, re.M)
    assert set(listed) == set(mm.commands)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", page.read_text()):
        name, _, anchor = target.partition("#")
        place = (page.parent / name).resolve() if name else page
        assert place.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", place.read_text(), re.M)
            assert anchor in {heading.lower().replace(" ", "-") for heading in headings}, target


def test_the_files_that_the_architecture_page_lists_exist() -> None:
    listed = ARCHITECTURE.split("### File by file")[1].split("\n## ")[0]
    rooms = re.findall(r"^\*\*(\w+)/\*\*:(.*?)(?=^\*\*|\Z)", listed, re.M | re.S)
    assert len(rooms) >= 13
    missing = set()
    for room, text in rooms:
        found = {path.stem for path in PACKAGE.joinpath(room).rglob("*.*")}
        missing |= {f"{room}/{name}" for name in re.findall(r"`([a-z_]+)`", text)} - {
            f"{room}/{name}" for name in found
        }
    assert missing == set()


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_the_places_that_contributors_are_sent_to_exist(page: str) -> None:
    """Such as ``core/pool_state``, ``doctor/examination.py``, ``settings/reading._TABLE``."""
    places = re.findall(r"`([a-z_]+/[\w/]+(?:\.\w+)*)`", ROOT.joinpath(page).read_text())
    assert len(places) >= 20
    assert [place for place in places if "NAME" not in place and not exists(place)] == []


def exists(place: str) -> bool:
    """True if the place, a directory, a file or a name in a file, is there."""
    path, _, name = place.partition(".")
    base = ROOT if ROOT.joinpath(path).parent.is_dir() else PACKAGE
    if base.joinpath(path).is_dir():
        return True
    suffix = name if name in ("py", "lua") else "py"
    file = base / f"{path}.{suffix}"
    return file.exists() and (name == suffix or name.rpartition(".")[2] in file.read_text())
