"""The prices of the platform's workers, read once a day."""

from __future__ import annotations

import json

from celery_middle_management.evaluation.platform_calls import PlatformCalls
from celery_middle_management.evaluation.session import Session
from celery_middle_management.ledger.accounts import read_prices
from celery_middle_management.ledger.model import millis
from celery_middle_management.platforms.base import PlatformError

#: The prices are read again after this time (s), ...
READS_AGAIN = 86400.0
#: ... and, if the platform has not answered, after this time (s).
ASKS_AGAIN = 600.0
#: How long (s) an evaluation waits for them. It has the lock, so a hire may have to wait as long.
PATIENCE = 2.0


def learn_prices(session: Session, calls: PlatformCalls) -> None:
    """Read the prices if that is due and this evaluation has called the platform anyway.

    If the platform does not answer, the ledger keeps the prices that it has.
    """
    platform, now, known = session.ports.platform, session.time(), read_prices(session.snapshot)
    due = now - known.at >= READS_AGAIN and now - known.asked_at >= ASKS_AGAIN
    free = calls.called and calls.may_call() and not calls.blocked()
    if platform.sizes is None or not due or not free:
        return
    session.changes.set["prices_asked_at"] = str(millis(now))
    calls.begin()
    try:
        cents = platform.prices(min(session.deadline, session.ports.clock() + PATIENCE))
    except PlatformError as error:
        if error.retry_after:
            calls.block(error.retry_after)
        session.ports.warn(
            "prices", "the prices of dynos could not be read: %s; asked again later", error
        )
        return
    session.changes.set["prices_at"] = str(millis(now))
    if cents:
        session.changes.set["prices"] = json.dumps(cents)
