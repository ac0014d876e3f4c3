"""What a check finds."""

from __future__ import annotations

from typing import NamedTuple

OK, WARNING, FAILURE = "ok", "warning", "failure"


class Finding(NamedTuple):
    """What one check found."""

    check: str
    #: :data:`OK`, :data:`WARNING` or :data:`FAILURE`.
    level: str
    what: str
    #: How to mend it.
    mend: str = ""
