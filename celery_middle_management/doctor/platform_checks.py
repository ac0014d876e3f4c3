"""Checks of Heroku: the API key, the app, its process types and their dynos."""

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

#: How many dynos an app, and one process type of a large size, can have at most, according to
#: Heroku's article "Dyno Scaling and Process Limits".
MOST_OF_AN_APP, MOST_OF_LARGE = 100, 10
_LARGE = ("performance", "private", "shield")
#: This many changes by others, within this time (s), look like another autoscaler.
_OFTEN, _LATELY = 3, 86400.0
#: Config vars that other autoscalers set in an app.
_SCALERS = ("HIREFIRE_TOKEN", "JUDOSCALE_URL")
_SINGLE = ("eco", "basic", "free", "hobby")


def heroku_answers(installation: Installation) -> Iterator[Finding]:
    """Check that Heroku accepts the key and has the app."""
    if installation.platform.heroku is None:
        return
    try:
        installation.platform.process_types  # noqa: B018 - the property calls Heroku
    except PlatformError as error:
        yield _refused("heroku", error)
    else:
        yield Finding("heroku", OK, "Heroku lets the key in, and knows the app")


def key_may_scale(installation: Installation) -> Iterator[Finding]:
    """Check that the key may change the app, and not only read it."""
    heroku = installation.platform.heroku
    # The check sends an empty update, but a dry run must send no update at all.
    if heroku is None or installation.settings.dry_run or not installation.platform.process_types:
        return
    try:
        heroku.assert_may_scale(installation.platform.deadline())
    except PlatformError as error:
        yield _refused("permission", error)
    else:
        yield Finding("permission", OK, "the key may scale the app")


def _refused(check: str, error: PlatformError) -> Finding:
    """The platform's message: its first sentence says what is wrong, the rest what to do."""
    what, _, mend = str(error).partition(". ")
    return Finding(check, FAILURE, what, mend or "see https://status.heroku.com and try again")


def process_types_exist(installation: Installation) -> Iterator[Finding]:
    """Check that each pool is a process type of the app."""
    if installation.platform.heroku is None:
        return
    types = installation.platform.process_types
    missing = [pool.name for pool in installation.settings.pools if pool.name not in types]
    for pool in missing:
        yield Finding(
            "process-types",
            FAILURE,
            f"the app has no process type {pool!r}; it has {', '.join(sorted(types)) or 'none'}",
            "name an existing type in app.conf.middle_management_pools, or deploy a Procfile with "
            f"the line\n{pool}: {installation.shell.worker(pool)}",
        )
    if not missing:
        yield Finding("process-types", OK, "each pool is a process type of the app")


def dynos_can_be_many(installation: Installation) -> Iterator[Finding]:
    """Check that Heroku allows max_workers dynos of each pool's size."""
    if installation.platform.heroku is None:
        return
    found, pools = False, [pool.widest for pool in installation.settings.pools]
    for pool in pools:
        if pool.name in installation.platform.process_types:
            size = installation.platform.process_types[pool.name].size
            one_off = _one_off(pool, size)
            for finding in (
                one_off if pool.one_off else _size(pool, size, installation.shell.heroku_app)
            ):
                found = True
                yield finding
    total = sum(pool.max_workers for pool in pools if not pool.one_off)
    if total > MOST_OF_AN_APP:
        found = True
        yield Finding(
            "dynos",
            WARNING,
            f"max_workers of all pools add up to {total}; an app can have {MOST_OF_AN_APP} dynos",
            f"lower middle_management_max_workers so that they add up to {MOST_OF_AN_APP}, or ask "
            "Heroku for a higher limit: https://help.heroku.com",
        )
    if not found:
        yield Finding("dynos", OK, "Heroku allows as many dynos as max_workers")


def _one_off(pool: Pool, size: str) -> Iterator[Finding]:
    size = pool.dyno_size or size
    most = most_one_offs(size)
    if pool.max_workers > most:
        yield Finding(
            "dynos",
            WARNING,
            f"{pool.name} uses {size} one-off dynos, and an app can have at most {most} of these; "
            f"its max_workers is {pool.max_workers}",
            f"lower middle_management_max_workers to {most}, or set middle_management_dyno_size to "
            "another size",
        )


def _size(pool: Pool, size: str, heroku_app: str) -> Iterator[Finding]:
    kind = size.lower()
    if kind.startswith(_SINGLE) and pool.max_workers > 1:
        yield Finding(
            "dynos",
            FAILURE,
            f"{pool.name} has {size} dynos, and a process type can have only one of these; its "
            f"max_workers is {pool.max_workers}",
            "set app.conf.middle_management_dynos = 'one-off', or take another size:\n"
            f"heroku ps:type {pool.name}=standard-1x{heroku_app}",
        )
    if kind.startswith(_LARGE) and pool.max_workers > MOST_OF_LARGE:
        yield Finding(
            "dynos",
            WARNING,
            f"{pool.name} has {size} dynos, and a process type can have at most {MOST_OF_LARGE} of "
            f"these; its max_workers is {pool.max_workers}",
            f"lower middle_management_max_workers to {MOST_OF_LARGE}, or ask Heroku for a higher "
            "limit: https://help.heroku.com",
        )


def we_alone_scale(installation: Installation) -> Iterator[Finding]:
    """Check that no other autoscaler changes the number of workers."""
    by_hand = changed_by_others(installation.redis.history, installation.redis.snapshot.now)
    for pool, times in by_hand.items():
        known = ", ".join(name for name in _SCALERS if name in installation.environ)
        yield Finding(
            "other-scaler",
            WARNING,
            f"the number of {pool} workers was changed {times} times within a day by something "
            "else: a person, Heroku's autoscaling, HireFire, Judoscale"
            f"{f' ({known} is set)' if known else ''}. Two autoscalers undo each other's changes",
            f"remove {pool} from the other autoscaler; Heroku's own is switched off by\n"
            f"heroku ps:autoscale:disable{installation.shell.heroku_app}",
        )
    if not by_hand:
        yield Finding("other-scaler", OK, "no other autoscaler changes the number of workers")


def changed_by_others(history: Iterable[Mapping[str, Any]], now: float) -> dict[str, int]:
    """Count the recent changes by others, for each pool that has had many."""
    times = Counter(
        str(entry["pool"])
        for entry in history
        if entry["action"] == "by hand"
        and now - datetime.fromisoformat(entry["at"]).timestamp() < _LATELY
    )
    return {pool: often for pool, often in sorted(times.items()) if often >= _OFTEN}
