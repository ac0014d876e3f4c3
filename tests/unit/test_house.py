"""What the house's rooms may hold; which may import which is for lint-imports to check."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import celery_middle_management

from .private_names import foreign_private_names

PACKAGE = Path(celery_middle_management.__file__).parent
LONGEST_FILE, LONGEST_FUNCTION, MOST_METHODS = 300, 40, 15
#: A Lua file that is longer is divided by headings into parts that are not.
LONGEST_LUA = 150
LUA_HEADING = re.compile(r"^-- ## ", re.MULTILINE)
#: Classes that have more methods, as "path:Class", and why.
MORE_METHODS = {"ledger/pool.py:PoolWriter": "it has one for each event that it writes down"}
#: The modules that may use names which are not public: Celery's and its libraries', and heroku3's.
INSIDERS = ("celery_internals.py", "platforms/heroku")


def modules() -> dict[str, str]:
    """The source of each module of the package, by its path."""
    return {p.relative_to(PACKAGE).as_posix(): p.read_text() for p in PACKAGE.rglob("*.py")}


def lines(text: str) -> int:
    return text.count("\n")


def functions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, (node.end_lineno or 0) - node.lineno + 1


def classes(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Each class with the number of its methods, properties among them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            methods = [
                n for n in node.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))
            ]
            yield node.name, len(methods)


def test_no_file_and_no_function_is_too_long_to_read() -> None:
    assert {path: n for path, text in modules().items() if (n := lines(text)) > LONGEST_FILE} == {}
    assert {
        f"{path}:{name}": n
        for path, text in modules().items()
        for name, n in functions(ast.parse(text))
        if n > LONGEST_FUNCTION
    } == {}


def test_no_class_does_too_many_things() -> None:
    many = {
        f"{path}:{name}"
        for path, text in modules().items()
        for name, methods in classes(ast.parse(text))
        if methods > MOST_METHODS
    }
    assert many == MORE_METHODS.keys()


def test_no_script_is_too_long_to_read() -> None:
    scripts = {p.name: p.read_text() for p in PACKAGE.rglob("*.lua")}
    assert scripts
    longest = {name: max(map(lines, LUA_HEADING.split(text))) for name, text in scripts.items()}
    assert {name: n for name, n in longest.items() if n > LONGEST_LUA} == {}


def test_every_thread_is_started_in_an_empty_context() -> None:
    assert [path for path, text in modules().items() if "Thread(" in text] == ["threads.py"]


def test_names_that_are_not_public_stay_with_their_insiders() -> None:
    """A release of Celery's that changes one then breaks ``celery_internals`` alone."""
    outside = {p: text for p, text in modules().items() if not p.startswith(INSIDERS)}
    found = {path: foreign_private_names(text) for path, text in outside.items()}
    assert {path: uses for path, uses in found.items() if uses} == {}


@pytest.mark.parametrize(
    "use",
    [
        "pool._pool",
        "consumer.pool._pool",
        "self.pool._pool",
        "type(self)._pool",
        "super()._pool",
        "other._not_of_this_class",
        "getattr(pool, '_pool', None)",
        "hasattr(pool, '_pool')",
        "setattr(pool, '_pool', None)",
        "attrgetter('connection._sock')",
        "vars(app).get('_conf')",
        "app.__dict__['_conf']",
        "from celery import _state",
        "from celery._state import get_current_app",
        "import celery._state",
        "import _socket",
        "NAME = '_create_task_sender'",
        "NAMES = ('_dirty', '_resource')",
    ],
)
def test_a_foreign_private_name_is_found(use: str) -> None:
    source = f"class PreforkJobs:\n def __init__(self):\n  self._pool = 1\n  {use}\n"
    assert foreign_private_names(source) == [(4, use)]


@pytest.mark.parametrize(
    "use",
    [
        "self._pool",
        "cls._pool",
        "other._pool",
        "pair._replace(a=1)",
        "pair._asdict()",
        "Pair._fields",
        "pool.__class__",
        "request = setattr(request, '_mm_begun', 1)",
        "ATTRIBUTE = '_middle_management'",
        "__slots__ = ('_value',)",
        "from x import __version__",
        "state.get('_why')",
        "_helper()",
    ],
)
def test_what_is_its_own_may_be_used(use: str) -> None:
    source = f"class PreforkJobs:\n def __init__(self):\n  self._pool = 1\n  {use}\n"
    assert foreign_private_names(source) == []
