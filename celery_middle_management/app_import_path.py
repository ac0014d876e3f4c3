"""How another process on this machine can import our Celery app."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from celery import Celery


class AppPath(NamedTuple):
    """Where a Celery app is defined. Its ``str()`` is what ``celery -A`` takes."""

    module: str
    #: Empty if ``celery`` finds the app in the module without it.
    attribute: str

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}" if self.attribute else self.module

    def environment(self) -> dict[str, str]:
        """Return an environment in which another process finds the same module."""
        root = self._import_root()
        # ``celery`` searches the current directory, and Python the installed packages.
        if root in {None, Path.cwd()} or _is_installed(root):
            return dict(os.environ)
        paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}

    def _import_root(self) -> Path | None:
        """The directory in which the module, or its outermost package, was found."""
        outermost = sys.modules.get(self.module.partition(".")[0], sys.modules["__main__"])
        file = getattr(outermost, "__file__", None)
        if file is None:
            return None
        directory = Path(file).resolve().parent
        return directory.parent if hasattr(outermost, "__path__") else directory


def named_path(name: str) -> AppPath:
    """Parse *name*, which has the form that ``celery -A`` takes.

    Raises:
        LookupError: there is no such module, in the current directory or on Python's path.
    """
    module, _, attribute = name.partition(":")
    top = module.partition(".")[0]
    places = [str(Path.cwd()), *sys.path]
    if top not in sys.modules and PathFinder.find_spec(top, places) is None:
        raise LookupError(
            f"middle_management_celery_app is {name!r}, but there is no module {top!r} in "
            f"{places[0]} or on Python's path"
        )
    return AppPath(module, attribute)


def app_path(app: Celery) -> AppPath:
    """Find the module and attribute that hold *app*; if several do, the nearest to ``app.main``.

    Raises:
        LookupError: no module that another process could import holds it.
    """
    found: dict[str, str] = {}
    for name, module in list(sys.modules.items()):
        attribute = _attribute(module, app)
        if attribute is not None and (importable := _import_name(name, module)) is not None:
            found.setdefault(importable, attribute)
    if not found:
        raise LookupError(
            f"a worker could not import the Celery app {app.main or app!r}: make it an attribute "
            "of a module that can be imported, such as `app` in proj/celery.py, or set "
            "middle_management_celery_app to what `celery -A` takes, such as 'make_celery'"
        )
    main = app.main or ""

    def distance(name: str) -> tuple[bool, bool, int]:
        return name != main, not name.startswith(f"{main}."), name.count(".")

    nearest = min(found, key=distance)
    return AppPath(nearest, found[nearest])


def celery_command(app: Celery, named: str | None) -> str:
    """Return ``celery -A proj`` with *named* for ``proj`` or, if None, where *app* is found."""
    with suppress(LookupError):
        # Celery finds an attribute `app` by itself.
        named = named or str(app_path(app)).removesuffix(":app")
    return f"celery -A {named or 'proj'}"


def _attribute(module: ModuleType | None, app: Celery) -> str | None:
    variables = list(getattr(module, "__dict__", {}).items())
    names = [name for name, value in variables if value is app and not name.startswith("_")]
    for usual in ("app", "celery"):  # ``celery -A`` looks for these itself.
        if usual in names:
            return usual
    return names[0] if names else None


def _import_name(name: str, module: ModuleType) -> str | None:
    """The name under which another process can import *module*; None if it cannot."""
    if name == "__main__":
        return _main_name(module)
    # Celery's own modules refer to the app of the process that imports them.
    if name.partition(".")[0] in {"celery", "__mp_main__"} or module.__spec__ is None:
        return None
    return name


def _main_name(main: ModuleType) -> str | None:
    if main.__spec__ is not None:  # python -m
        return main.__spec__.name
    file = getattr(main, "__file__", None)
    if file is None:
        return None
    path = Path(file).resolve()
    on_path = any(Path(entry).resolve() == path.parent for entry in sys.path)
    return path.stem if on_path and path.stem.isidentifier() else None


def _is_installed(root: Path | None) -> bool:
    return root is not None and not {"site-packages", "dist-packages"}.isdisjoint(root.parts)
