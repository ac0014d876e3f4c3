"""The scripts that run in Redis. On loading, each is checked against the Python that calls it.

A script names its keys in the line that unpacks ``KEYS``. For each message that it reads or
returns, it has a table: ``-- ## <class> (<variable>)``, then a row for each field of that class,
with a ``?`` after the name if the field can be missing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from celery_middle_management.ledger.messages import Bounds

_KEYS = re.compile(r"^local (.+) = unpack\(KEYS\)$", re.M)
_TABLES = re.compile(r"^-- ## (\w+) \((\w+)\).*\n((?:--   .*\n)+)", re.M)
_ROW = re.compile(r"^--   (\w+\??)", re.M)
_USES = re.compile(r"\b(\w+)\.(\w+)|--.*")


class ScriptMismatch(Exception):
    """A script and its caller disagree about the keys or about the fields of a message."""


def load(*names: str, keys: Sequence[str], messages: Sequence[Any] = ()) -> str:
    """Return a script, behind the prelude; check that it takes *keys* and *messages* (TypedDicts).

    Raises:
        ScriptMismatch: the script takes other keys or messages.
    """
    text = read("prelude", *names)
    check(names[-1], text, keys, messages)
    return text


def read(*names: str) -> str:
    """Return the text of these files, one after another."""
    directory = files(__package__)
    return "".join((directory / f"{name}.lua").read_text(encoding="utf-8") for name in names)


def check(script: str, text: str, keys: Sequence[str], messages: Sequence[Any]) -> None:
    """Compare the keys and tables of a *script* with those of its caller.

    Raises:
        ScriptMismatch: they differ.
    """
    [unpacked] = _KEYS.findall(text) or [""]
    _compare(script, "keys", unpacked.split(", "), keys)
    tables = {name: (variable, rows) for name, variable, rows in _TABLES.findall(text)}
    declared = {message.__name__: message for message in (Bounds, *messages)}
    _compare(script, "tables", sorted(tables), sorted(declared))
    used: dict[str, set[str]] = {}
    for variable, field in _USES.findall(text):
        used.setdefault(variable, set()).add(field)
    for name, (variable, rows) in tables.items():
        # A message that extends Bounds does not repeat the fields of Bounds in its own table.
        bounds = Bounds.__optional_keys__ if name != Bounds.__name__ else frozenset[str]()
        optional = declared[name].__optional_keys__
        fields = declared[name].__required_keys__ | {f"{f}?" for f in optional - bounds}
        listed = _ROW.findall(rows)
        _compare(script, f"the fields of {name}", sorted(listed), sorted(fields))
        names = {field.rstrip("?") for field in listed}
        here = used.get(variable, set()) - (bounds & optional)
        _compare(script, f"the use of {name}", sorted(here), sorted(names))


def _compare(script: str, what: str, here: Sequence[str], there: Sequence[str]) -> None:
    if [*here] != [*there]:
        differing = ", ".join(sorted({*here} ^ {*there})) or "their order"
        raise ScriptMismatch(f"{script}.lua and its caller differ in {what}: {differing}")
