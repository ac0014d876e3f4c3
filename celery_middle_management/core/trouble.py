"""What is wrong, and since when: kept in the ledger, for who looks is another process."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace


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
    met; it is over when it was not met in a try, and as it was where nobody tried.
    """
    kept = {kind: trouble for kind, trouble in known.items() if kind.split()[0] not in tried}
    return kept | {
        kind: replace(trouble, since=known[kind].since) if kind in known else trouble
        for kind, trouble in met.items()
    }
