"""The fields of one pool: read from a snapshot, and written into changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from celery_middle_management.ledger.codec import filled
from celery_middle_management.ledger.model import Changes, Snapshot, millis

T = TypeVar("T")


class PoolFields:
    """The fields of one pool in a snapshot."""

    def __init__(self, snapshot: Snapshot, pool: str) -> None:
        self._snapshot, self._pool = snapshot, pool

    def text(self, entry: str) -> str | None:
        """Return a field as it is; None if it is not there."""
        return self._snapshot.state.get(f"{self._pool}/{entry}")

    def number(self, entry: str) -> int:
        """Return a whole number, 0 if it is not there."""
        return int(self._snapshot.number(f"{self._pool}/{entry}"))

    def time(self, entry: str) -> float:
        """Return a time, Unix (s); 0 if it is not there."""
        return self._snapshot.time(f"{self._pool}/{entry}")

    def seconds(self, entry: str, default: float = 0.0) -> float:
        """Return a duration (s)."""
        return self._snapshot.number(f"{self._pool}/{entry}", default)

    def document(self, entry: str) -> dict[str, Any]:
        """Return a JSON document, empty if it is not there."""
        return self._snapshot.document(f"{self._pool}/{entry}")

    def filled(self, kind: type[T], entry: str) -> T | None:
        """Return a dataclass filled from a document; None if it is not there."""
        document = self.document(entry)
        return filled(kind, document) if document else None


class PoolChanges:
    """The changes to one pool's fields."""

    def __init__(self, pool: str, changes: Changes) -> None:
        self._pool, self._changes = pool, changes

    def set(self, entry: str, value: str) -> None:
        """Write a field."""
        name = f"{self._pool}/{entry}"
        self._changes.set[name] = value
        self._changes.unset.pop(name, None)

    def set_time(self, entry: str, at: float) -> None:
        """Write a time, Unix (s)."""
        self.set(entry, str(millis(at)))

    def set_document(self, entry: str, document: Mapping[str, Any]) -> None:
        """Write a JSON document."""
        self.set(entry, json.dumps(document))

    def unset(self, entry: str) -> None:
        """Delete a field."""
        name = f"{self._pool}/{entry}"
        self._changes.set.pop(name, None)
        self._changes.unset[name] = None

    def add(self, entry: str, number: int) -> None:
        """Increase a whole number."""
        name = f"{self._pool}/{entry}"
        self._changes.add[name] = self._changes.add.get(name, 0) + number

    def add_due(self, when: int, tasks: int) -> None:
        """Add scheduled tasks to a bucket (Unix, s), or take them away (< 0)."""
        name = f"{self._pool}/{when}"
        self._changes.due[name] = self._changes.due.get(name, 0) + tasks

    def add_history(self, entry: Mapping[str, Any]) -> None:
        """Append an entry to the app's history."""
        self._changes.history.append(json.dumps({"pool": self._pool, **entry}))
