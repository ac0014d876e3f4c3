"""The packages that only the page needs."""

from __future__ import annotations

from importlib.util import find_spec

from celery.exceptions import ImproperlyConfigured

#: What the page needs of the extra `[web]`; the server that the extra also has is for `mm web`.
NEEDED = ("bottle", "bokeh")


def require(*modules: str) -> None:
    """Check that the *modules* are installed. None of them is imported.

    Raises:
        ImproperlyConfigured: one is missing.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise ImproperlyConfigured(
            f"the page needs {' and '.join(missing)}: pip install 'celery-middle-management[web]'"
        )
