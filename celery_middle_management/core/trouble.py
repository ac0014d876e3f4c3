"""What is wrong, and since when: kept in the ledger, since another process shows it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

#: A trouble that comes again is told again no sooner than this (s) after it was told last ...
TELL_AGAIN = 600.0
#: ... and of so many at once at most.
MOST_TOLD = 20
#: So much of its text is in the history.
_LONGEST = 500


@dataclass(frozen=True)
class Trouble:
    """Something that goes wrong whenever it is tried. Times are Redis', Unix (s)."""

    what: str
    since: float
    #: Whose alone it is; None: everybody's.
    pool: str | None = None


def renewed(
    known: Mapping[str, Trouble], met: Mapping[str, Trouble], tried: Collection[str]
) -> dict[str, Trouble]:
    """What is wrong by kind, after some things were *tried* and some trouble was *met* in that.

    The first word of a kind is what was tried. Trouble that was known goes on since it was first
    met; it is over when it was not met in a try, and as it was where that was not tried.
    """
    kept = {kind: trouble for kind, trouble in known.items() if kind.split()[0] not in tried}
    return kept | {
        kind: replace(trouble, since=known[kind].since) if kind in known else trouble
        for kind, trouble in met.items()
    }


@dataclass(frozen=True)
class Told:
    """What the history says of a trouble. Times are Redis', Unix (s)."""

    what: str
    since: float
    pool: str | None = None
    #: When its beginning was written.
    at: float = 0.0
    #: Its end was written, too.
    over: bool = False


def retold(
    told: Mapping[str, Told], troubles: Mapping[str, Trouble], now: float
) -> tuple[dict[str, Told], dict[str, Told]]:
    """What the history says by kind when it has been brought up to date, and what that adds to it.

    A trouble that comes and goes begins there once in :data:`TELL_AGAIN`: what has come again
    sooner is told when that time has passed, unless it is over by then.
    """
    over = {
        kind: replace(last, over=True)
        for kind, last in told.items()
        if not last.over and kind not in troubles
    }
    # Those that are over are known for a while, lest they be told again at once.
    known = {k: t for k, t in {**told, **over}.items() if not t.over or now - t.at < TELL_AGAIN}
    new = [kind for kind in troubles if kind not in known][: max(MOST_TOLD - len(known), 0)]
    begun = {
        kind: Told(trouble.what[:_LONGEST], trouble.since, trouble.pool, at=now)
        for kind, trouble in troubles.items()
        if kind in new
    }
    return known | begun, over | begun
