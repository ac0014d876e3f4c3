"""Troubles, and when they began: kept in the ledger, because other processes show them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

#: A trouble that recurs gets another entry in the history no sooner than this (s) after its last.
TELL_AGAIN = 600.0
#: The history has open entries for at most this many troubles.
MOST_TOLD = 20
#: The history has at most this many characters of a trouble's text.
_LONGEST = 500


@dataclass(frozen=True)
class Trouble:
    """Something that goes wrong whenever it is tried. Times are Redis', Unix (s)."""

    what: str
    since: float
    #: The pool that has it; None if every pool has it.
    pool: str | None = None


def renewed(
    known: Mapping[str, Trouble], met: Mapping[str, Trouble], tried: Collection[str]
) -> dict[str, Trouble]:
    """Return the troubles, by kind, after some things were *tried* and some troubles *met*.

    The first word of a kind names what was tried. A known trouble keeps the time when it was first
    met. It is over if the thing was tried and the trouble not met; it stays if the thing was not
    tried.
    """
    kept = {kind: trouble for kind, trouble in known.items() if kind.split()[0] not in tried}
    return kept | {
        kind: replace(trouble, since=known[kind].since) if kind in known else trouble
        for kind, trouble in met.items()
    }


@dataclass(frozen=True)
class Told:
    """A trouble's entry in the history. Times are Redis', Unix (s)."""

    what: str
    since: float
    pool: str | None = None
    #: When the entry for its beginning was written.
    at: float = 0.0
    #: True if its end was written, too.
    over: bool = False


def retold(
    told: Mapping[str, Told], troubles: Mapping[str, Trouble], now: float
) -> tuple[dict[str, Told], dict[str, Told]]:
    """Return the history's current entries by kind, and the new ones among them.

    A trouble that comes and goes begins in the history at most once per :data:`TELL_AGAIN`. If it
    recurs sooner, it gets an entry when that time has passed, unless it is over by then.
    """
    over = {
        kind: replace(last, over=True)
        for kind, last in told.items()
        if not last.over and kind not in troubles
    }
    # For a while, remember troubles that are over, so that none gets another entry at once.
    known = {k: t for k, t in {**told, **over}.items() if not t.over or now - t.at < TELL_AGAIN}
    new = [kind for kind in troubles if kind not in known][: max(MOST_TOLD - len(known), 0)]
    begun = {
        kind: Told(trouble.what[:_LONGEST], trouble.since, trouble.pool, at=now)
        for kind, trouble in troubles.items()
        if kind in new
    }
    return known | begun, over | begun
