"""The result of a check."""

from __future__ import annotations

from typing import NamedTuple

OK, WARNING, FAILURE = "ok", "warning", "failure"


class Finding(NamedTuple):
    """One thing that a check found, good or bad."""

    check: str
    #: :data:`OK`, :data:`WARNING` or :data:`FAILURE`.
    level: str
    what: str
    #: What to do about it; commands and settings to paste are on lines of their own.
    mend: str = ""
