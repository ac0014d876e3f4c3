"""The accounts and the prices in the ledger's state, and the bill in a hash of its own.

``accounts`` (JSON) has the open account of each pool's formation, and of its one-off workers under
``<pool>/run``. ``billed_at`` repeats ``evaluated_at`` if the release that evaluated keeps accounts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from celery_middle_management.core.bill import Account, Entry
from celery_middle_management.ledger.model import Snapshot

BILLED_AT = "billed_at"


class Prices(NamedTuple):
    """The platform's last answer about its prices. Times are the ledger's, Unix (s)."""

    #: Monthly prices (cents), by size.
    cents: Mapping[str, int]
    #: When the platform said so, 0 if it never did.
    at: float
    #: When it was last asked, 0 if it never was.
    asked_at: float


def billed(snapshot: Snapshot) -> bool:
    """Return whether the release that evaluated last keeps accounts."""
    return snapshot.state.get(BILLED_AT) == snapshot.state.get("evaluated_at")


def run_account(pool: str) -> str:
    """Return the name of the account of a pool's one-off workers."""
    return f"{pool}/run"


def read_accounts(snapshot: Snapshot) -> dict[str, Account]:
    """Return the open accounts, by name."""
    return {name: Account(*each[:4]) for name, each in snapshot.document("accounts").items()}


def read_prices(snapshot: Snapshot) -> Prices:
    """Return the prices."""
    cents = snapshot.document("prices")
    return Prices(cents, snapshot.time("prices_at"), snapshot.time("prices_asked_at"))


def entries_of(bill: Mapping[str, str | int]) -> Iterator[Entry]:
    """Yield the entries of a bill as the ledger returns it."""
    for field, worked in bill.items():
        pool, day, size = field.split("/", 2)
        yield Entry(pool, day, size, int(worked))


def open_entries(snapshot: Snapshot) -> Iterator[Entry]:
    """Yield what will be added to the bill for the time until now, as far as it is known."""
    if not billed(snapshot):
        return
    now, offset = round(snapshot.now * 1000), round(snapshot.offset * 1000)
    for name, account in read_accounts(snapshot).items():
        for day, worked in account.until(now, offset).items():
            yield Entry(name.partition("/")[0], day, account.size, worked)
