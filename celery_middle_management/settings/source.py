"""Looks up what the user wrote for each setting, and checks it."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from celery import Celery
from celery.exceptions import ImproperlyConfigured

from celery_middle_management.settings import kinds, redis_url
from celery_middle_management.settings.kinds import Kind
from celery_middle_management.settings.table import PREFIX, TABLE

#: Matches what may be a key or a password in the wrong place. Heroku's older keys are UUIDs.
_LOOKS_SECRET = re.compile(
    "HRKU-|://.*@|[?&][^=]*(pass|secret|token|key)[^=]*=|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    re.I,
)


class Missing(ImproperlyConfigured):
    """A required setting is missing."""


class Given(NamedTuple):
    label: str
    """The name that the user wrote, or would have written."""
    value: Any
    written: bool = True
    """False if the value is the default."""


class Source:
    """The places where a user writes settings: Celery's configuration and the environment."""

    def __init__(self, app: Celery) -> None:
        self.conf: Any = app.conf
        untyped: Any = app  # celery-types lacks the attribute
        self._app = untyped
        namespace = f"{untyped.namespace.rstrip('_')}_" if untyped.namespace else ""
        # Celery's rule: a namespace in capitals makes the whole name capitals.
        self._styled = str.upper if namespace.isupper() else str.lower
        self._prefix = namespace + self._styled(PREFIX)

    def load(self) -> None:
        """Make Celery load the user's configuration, and raise any error in it."""
        self.conf.get(PREFIX + "enabled")

    def get(self, name: str) -> Given:
        """Return the checked value, or the default. None and an empty variable count as absent."""
        setting = TABLE[name]
        label = self._prefix + self._styled(name)
        value = self.conf.get(PREFIX + name)  # finds the name with the namespace, too
        if value is not None:
            written = label if self.conf.get(label) is value else PREFIX + name
            return checked(setting.kind, Given(written, value))
        for variable in ((PREFIX + name).upper(), setting.fallback):
            if text := os.environ.get(variable):
                given = Given(variable, setting.kind.from_text(text))
                return checked(setting.kind, given)
        return Given(label, setting.default, written=False)

    @property
    def app_timezone(self) -> str:
        """The name of the app's own time zone, if it has one."""
        return str(self.conf.timezone or self._app.timezone)

    @property
    def switched_off(self) -> bool:
        """True if the environment disables the package, which overrides the code's settings."""
        variable = (PREFIX + "enabled").upper()
        text = os.environ.get(variable, "")
        said = kinds.BOOLEAN.from_text(text)
        if text and self.conf.get(PREFIX + "enabled"):
            checked(kinds.BOOLEAN, Given(variable, said))
        return said is False

    def refuse_unknown(self) -> None:
        """Refuse names that look like ours but are not."""
        refuse_unknown(self._prefix, self.conf, map(self._styled, TABLE))
        refuse_unknown(PREFIX, self.conf, TABLE)
        refuse_unknown(PREFIX.upper(), os.environ, map(str.upper, TABLE))
        self._refuse_without_namespace()

    def _refuse_without_namespace(self) -> None:
        """Refuse names in capitals, as in Django, that lack the namespace: they have no effect."""
        names = set(self.conf)  # As written; `in self.conf` would find them by other names, too.
        for name in TABLE:
            written, meant = (PREFIX + name).upper(), self._prefix + self._styled(name)
            if written in names and written != meant and self.conf.get(meant) is None:
                raise ImproperlyConfigured(f"{written} has no effect; did you mean {meant}?")


def checked(kind: Kind, given: Given) -> Given:
    try:
        return Given(given.label, kind.check(given.value))
    except (ValueError, OverflowError):
        value = _masked(given.value) if kind.secret else shown(given.value)
        # Without this, a string that spells an allowed value would not look wrong.
        if isinstance(given.value, str) and kind.from_text(given.value) != given.value:
            value += ", a string"
        wrong = f", which {kind.flaw(given.value)}" if kind.flaw and given.value else ""
    raise ImproperlyConfigured(f"{given.label} is {value}{wrong}; allowed: {kind.allowed}")


def shown(value: object) -> str:
    text = " ".join(repr(value).split())
    if _LOOKS_SECRET.search(text):
        return "***"
    return text if len(text) <= 200 else f"{text[:200]}..."


def _masked(value: object) -> str:
    scheme = redis_url.scheme(value)
    return "''" if value == "" else f"{scheme}://***" if scheme else "***"


def refuse_unknown(prefix: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse any of *names* that begins with *prefix* and is not *prefix* plus one of *known*."""
    known = list(known)
    for name in names:
        rest = name.removeprefix(prefix)
        if name.startswith(prefix) and rest not in known:
            close = difflib.get_close_matches(rest, known, n=1)
            hint = f"did you mean {prefix}{close[0]}?" if close else f"allowed: {', '.join(known)}"
            raise ImproperlyConfigured(f"{name} is unknown; {hint}")


def refuse_crossed(least: Given, most: Given, where: str = "") -> None:
    """Refuse a minimum above the maximum. A maximum of 0 overrides any minimum."""
    if most.value and least.value > most.value:
        raise ImproperlyConfigured(
            f"{least.label} is {least.value}{where}; allowed: at most {most.label}, {most.value}"
        )


def refuse_both(one: Given, other: Given) -> None:
    """Refuse two settings that exclude each other, if the user wrote both."""
    if one.written and other.written:
        raise ImproperlyConfigured(
            f"{one.label} is {shown(one.value)} and {other.label} is {shown(other.value)}; "
            "allowed: only one of the two"
        )


def require(given: Given, name: str, why: str) -> None:
    if given.value is None:
        allowed = TABLE[name].kind.allowed
        raise Missing(f"{given.label} is required{why}; allowed: {allowed}")
