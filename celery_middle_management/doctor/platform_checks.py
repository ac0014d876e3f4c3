"""Heroku: the key, the app, its process types and their dynos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from celery_middle_management.core.pools import Pool
from celery_middle_management.doctor.finding import FAILURE, OK, WARNING, Finding
from celery_middle_management.doctor.installation import Installation
from celery_middle_management.platforms import PlatformError
from celery_middle_management.platforms.sizes import most_one_offs

#: Of an app, and of one type of the larger sizes: Heroku's "Dyno Scaling and Process Limits".
MOST_OF_AN_APP, MOST_OF_LARGE = 100, 10
_LARGE = ("performance", "private", "shield")
#: Another than us that changes a quantity so often within so many seconds is a scaler.
_OFTEN, _LATELY = 3, 86400.0
#: What others set in the environment of an app that they scale.
_SCALERS = ("HIREFIRE_TOKEN", "JUDOSCALE_URL")
_SINGLE = ("eco", "basic", "free", "hobby")


def heroku_answers(installation: Installation) -> Iterator[Finding]:
    """Whether the key is let in, and the app is there."""
    if installation.platform.heroku is None:
        return
    try:
        installation.platform.process_types  # noqa: B018 - it is asked for
    except PlatformError as error:
        yield _refused("heroku", error)
    else:
        yield Finding("heroku", OK, "Heroku lets the key in, and knows the app")


def key_may_scale(installation: Installation) -> Iterator[Finding]:
    """Whether the key may change the app, which reading does not show."""
    heroku = installation.platform.heroku
    # The question is a change of nothing, and a dry run changes nothing, not even that.
    if heroku is None or installation.settings.dry_run or not installation.platform.process_types:
        return
    try:
        heroku.assert_may_scale(installation.platform.deadline())
    except PlatformError as error:
        yield _refused("permission", error)
    else:
        yield Finding("permission", OK, "the key may scale the app")


def _refused(check: str, error: PlatformError) -> Finding:
    """What the platform said; the rest of the message says what to do."""
    what, _, mend = str(error).partition(". ")
    return Finding(check, FAILURE, what, mend or "see https://status.heroku.com, and try again")


def process_types_exist(installation: Installation) -> Iterator[Finding]:
    """Whether each pool is a process type of the app."""
    if installation.platform.heroku is None:
        return
    types = installation.platform.process_types
    missing = [pool.name for pool in installation.settings.pools if pool.name not in types]
    for pool in missing:
        yield Finding(
            "process-types",
            FAILURE,
            f"the app has no process type {pool!r}; it has {', '.join(sorted(types)) or 'none'}",
            "name an existing type in middle_management_pools, or deploy a Procfile with the "
            f"line\n{pool}: {installation.shell.worker(pool)}",
        )
    if not missing:
        yield Finding("process-types", OK, "each pool is a process type of the app")


def dynos_can_be_many(installation: Installation) -> Iterator[Finding]:
    """Whether the dynos' size allows as many as max_workers."""
    if installation.platform.heroku is None:
        return
    found = False
    for pool in installation.settings.pools:
        if pool.name in installation.platform.process_types:
            size = installation.platform.process_types[pool.name].size
            one_off = _one_off(pool, size)
            for finding in (
                one_off if pool.one_off else _size(pool, size, installation.shell.heroku_app)
            ):
                found = True
                yield finding
    total = sum(pool.max_workers for pool in installation.settings.pools if not pool.one_off)
    if total > MOST_OF_AN_APP:
        found = True
        yield Finding(
            "dynos",
            WARNING,
            f"max_workers are {total} in all; an app may have {MOST_OF_AN_APP} dynos",
            f"lower middle_management_max_workers to {MOST_OF_AN_APP} in all, or ask Heroku for a "
            "higher limit: https://help.heroku.com",
        )
    if not found:
        yield Finding("dynos", OK, "the dynos' sizes allow as many as max_workers")


def _one_off(pool: Pool, size: str) -> Iterator[Finding]:
    size = pool.dyno_size or size
    most = most_one_offs(size)
    if pool.max_workers > most:
        yield Finding(
            "dynos",
            WARNING,
            f"{pool.name} is to have {size} one-off dynos, of which an app can have {most}; its "
            f"max_workers is {pool.max_workers}",
            f"lower middle_management_max_workers to {most}, or set middle_management_dyno_size to "
            "another size",
        )


def _size(pool: Pool, size: str, on_heroku: str) -> Iterator[Finding]:
    kind = size.lower()
    if kind.startswith(_SINGLE) and pool.max_workers > 1:
        yield Finding(
            "dynos",
            FAILURE,
            f"{pool.name} has {size} dynos, of which a process type can have one; its max_workers "
            f"is {pool.max_workers}",
            "set middle_management_dynos to 'one-off', or take another size:\n"
            f"heroku ps:type {pool.name}=standard-1x{on_heroku}",
        )
    if kind.startswith(_LARGE) and pool.max_workers > MOST_OF_LARGE:
        yield Finding(
            "dynos",
            WARNING,
            f"{pool.name} has {size} dynos, of which a process type can have {MOST_OF_LARGE}; its "
            f"max_workers is {pool.max_workers}",
            f"lower middle_management_max_workers to {MOST_OF_LARGE}, or ask Heroku for a higher "
            "limit: https://help.heroku.com",
        )


def we_alone_scale(installation: Installation) -> Iterator[Finding]:
    """Whether another changes the number of workers, again and again."""
    by_hand = changed_by_others(installation.redis.history, installation.redis.snapshot.now)
    for pool, times in by_hand.items():
        known = ", ".join(name for name in _SCALERS if name in installation.environ)
        yield Finding(
            "other-scaler",
            WARNING,
            f"the number of {pool} workers was changed {times} times within a day by another than "
            "us: a person, Heroku's autoscaling, HireFire, Judoscale"
            f"{f' ({known} is set)' if known else ''}. What the two want is set by turns",
            f"take {pool} out of the other scaler, on its own page; Heroku's own is ended by\n"
            f"heroku ps:autoscale:disable{installation.shell.heroku_app}",
        )
    if not by_hand:
        yield Finding("other-scaler", OK, "no other scaler changes the number of workers")


def changed_by_others(history: Iterable[Mapping[str, Any]], now: float) -> dict[str, int]:
    """By pool, how often another has changed its number of workers lately, where that is often."""
    times = Counter(
        str(entry["pool"])
        for entry in history
        if entry["action"] == "by hand"
        and now - datetime.fromisoformat(entry["at"]).timestamp() < _LATELY
    )
    return {pool: often for pool, often in sorted(times.items()) if often >= _OFTEN}
