"""Finds the uses of names that are another's, and private: ``x._y``, however it is written."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Set

_PRIVATE = re.compile(r"_[^\W_]\w*")
#: What Python documents with a leading underscore: the methods of a named tuple.
_DOCUMENTED = {"_replace", "_asdict", "_fields", "_make"}
#: Attributes of ours on objects of others begin so.
_OURS = ("_mm_", "_middle_management")
#: So variables are called that hold another instance of the class in whose body they stand.
_OF_THE_SAME_CLASS = {"other", "part", "double", "twin"}
_FUNCTIONS = {"getattr", "setattr", "hasattr", "delattr", "attrgetter", "methodcaller"}


def foreign_private_names(source: str) -> list[tuple[int, str]]:
    """Return the line and the code of each use in a module of what is private and not its own."""
    finder = _Finder()
    finder.visit(ast.parse(source))
    return finder.found


def _is_private(name: str) -> bool:
    return _PRIVATE.fullmatch(name) is not None and name not in _DOCUMENTED


class _Finder(ast.NodeVisitor):
    def __init__(self) -> None:
        self.found: list[tuple[int, str]] = []
        #: The private names that each class around the present place defines.
        self._classes: list[Set[str]] = []

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._classes.append(set(_defined_in(node)))
        self.generic_visit(node)
        self._classes.pop()

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if _is_private(node.attr) and not self._is_own(node):
            self._find(node)
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        if any(_is_private(part) for name in node.names for part in name.name.split(".")):
            self._find(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        parts = [*(node.module or "").split("."), *(name.name for name in node.names)]
        if any(map(_is_private, parts)):
            self._find(node)

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func
        name = called.id if isinstance(called, ast.Name) else called
        if name in _FUNCTIONS:
            self._find_in_strings(node, [part for a in node.args for part in _strings(a)])
        elif name in {"get", "pop", "setdefault"} and _is_namespace(node.func):
            self._find_in_strings(node, [part for a in node.args[:1] for part in _strings(a)])
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if _is_namespace(node):
            self._find_in_strings(node, list(_strings(node.slice)))
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        # A constant with such a name is for one of those functions.
        if not any(isinstance(t, ast.Name) and t.id == "__slots__" for t in node.targets):
            self._find_in_strings(node, list(_strings(node.value)))
        self.generic_visit(node)

    def _is_own(self, node: ast.Attribute) -> bool:
        if not isinstance(node.value, ast.Name):
            return False
        holder = node.value.id
        if holder in {"self", "cls"}:
            return True
        return holder in _OF_THE_SAME_CLASS and any(node.attr in c for c in self._classes)

    def _find_in_strings(self, node: ast.AST, strings: list[str]) -> None:
        if any(_is_private(text) and not text.startswith(_OURS) for text in strings):
            self._find(node)

    def _find(self, node: ast.AST) -> None:
        self.found.append((getattr(node, "lineno", 0), ast.unparse(node)))


def _defined_in(node: ast.ClassDef) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield part.name
        elif isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store):
            if isinstance(part.value, ast.Name) and part.value.id == "self":
                yield part.attr
        elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            yield part.target.id


def _is_namespace(node: ast.AST) -> bool:
    """Return whether it looks something up in ``vars(x)`` or ``x.__dict__``."""
    looked_up = node.value if isinstance(node, (ast.Attribute, ast.Subscript)) else node
    return ast.unparse(looked_up).startswith("vars(") or "__dict__" in ast.unparse(looked_up)


def _strings(node: ast.AST) -> Iterator[str]:
    """Yield what may be names in a string, such as ``attrgetter("a._b")`` has."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from node.value.split(".") if re.fullmatch(r"[\w.]+", node.value) else ()
    elif isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        for element in node.elts:
            yield from _strings(element)
