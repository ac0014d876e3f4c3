"""What the house's rooms may hold; which may import which is for lint-imports to check."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import celery_middle_management

PACKAGE = Path(celery_middle_management.__file__).parent
LONGEST_FILE, LONGEST_FUNCTION = 400, 50


def functions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, (node.end_lineno or 0) - node.lineno + 1


def test_no_file_and_no_function_is_too_long_to_read() -> None:
    files = {path: path.read_text() for path in PACKAGE.rglob("*.py")}
    assert [p for p, text in files.items() if text.count("\n") > LONGEST_FILE] == []
    assert [
        (path, name)
        for path, text in files.items()
        for name, lines in functions(ast.parse(text))
        if lines > LONGEST_FUNCTION
    ] == []


def test_every_thread_is_started_in_an_empty_context() -> None:
    starting = [p.name for p in PACKAGE.rglob("*.py") if "Thread(" in p.read_text()]
    assert starting == ["threads.py"]
