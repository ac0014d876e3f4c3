"""The latest status document of each app, for its metrics and for the admin's panel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary, ref

from celery_middle_management.inspection import status
from celery_middle_management.managed_app import ManagedApp
from celery_middle_management.web.latest import Latest, Reading

Document = Mapping[str, Any]

#: A document is given out again for this time (s) after it was asked for.
FRESH = 5.0
#: And for this time (s) as long as a newer one is being read: a broker that hangs delays that.
KEPT = 30.0

_latest: WeakKeyDictionary[ManagedApp, Latest[Document]] = WeakKeyDictionary()


def read_status(
    managed: ManagedApp, patience: float, first_patience: float = 0.0, *, anew: bool = False
) -> Reading[Document]:
    """Read the status of *managed*; unless *anew*, what was read a moment ago will do.

    The times (s) are those that :meth:`Latest.get` waits at most.
    """
    latest = _latest.get(managed) or _latest.setdefault(managed, _latest_of(managed))
    if anew:
        latest.expire()
    return latest.get(patience, first_patience)


def document_of(reading: Reading[Document]) -> Document | None:
    """Return the document, unless it is too old or the last attempt to read it failed."""
    old = reading.waiting > 0 and reading.age >= KEPT
    return None if old or reading.error is not None else reading.value


def _latest_of(managed: ManagedApp) -> Latest[Document]:
    its = ref(managed)  # it is not kept alive by what is kept for it

    def read() -> Document:
        app = its()
        if app is None:
            raise ReferenceError("the app is gone")
        return status(app)

    return Latest(read, FRESH, "mm-status")
