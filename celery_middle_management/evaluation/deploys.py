"""What a deploy means for an evaluation: one-off workers outlive it, with the settings they had.

Processes of both releases evaluate in turn. One of an older release knows neither the new limits
nor that the package may be switched off. So it leaves the decisions to newer ones, or if there is
none, hires one.
"""

from __future__ import annotations

from collections.abc import Collection

from celery_middle_management.evaluation.counted import CountedPool
from celery_middle_management.evaluation.session import Session


def outdated(session: Session, pools: Collection[CountedPool]) -> bool:
    """Return whether this process belongs to a one-off worker of an older release."""
    rosters = (pool.one_offs.roster for pool in pools if pool.one_offs is not None)
    return any(session.ports.worker in roster.outdated for roster in rosters)


def listing_due(session: Session, pools: Collection[CountedPool]) -> bool:
    """Return whether the platform should list its one-off workers now.

    So it should if this process, unless it belongs to such a worker, was started since the last
    list: perhaps by a deploy.
    """
    rosters = [pool.one_offs.roster for pool in pools if pool.one_offs is not None]
    if any(session.ports.worker in roster.names for roster in rosters):
        started_at = 0.0
    else:
        started_at = session.process_started_at
    return any(
        roster.asks_now(session.snapshot.now) or 0 < roster.listed_at < started_at
        for roster in rosters
    )
