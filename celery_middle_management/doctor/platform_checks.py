"""Heroku: the key, the app, its process types and their dynos."""

from __future__ import annotations

from collections.abc import Iterator

from celery_middle_management.core.pools import Pool
from celery_middle_management.doctor.finding import FAILURE, OK, WARNING, Finding
from celery_middle_management.doctor.patient import Patient
from celery_middle_management.platforms import PlatformError
from celery_middle_management.platforms.sizes import most_one_offs

#: Of an app, and of one type of the larger sizes: Heroku's "Dyno Scaling and Process Limits".
MOST_OF_AN_APP, MOST_OF_LARGE = 100, 10
_LARGE = ("performance", "private", "shield")
_SINGLE = ("eco", "basic", "free", "hobby")


def heroku_answers(patient: Patient) -> Iterator[Finding]:
    """Whether the key is let in, and the app is there."""
    if patient.heroku is None:
        return
    try:
        patient.process_types  # noqa: B018 - it is asked for
    except PlatformError as error:
        yield _refused("heroku", error)
    else:
        yield Finding("heroku", OK, "Heroku lets the key in, and knows the app")


def key_may_scale(patient: Patient) -> Iterator[Finding]:
    """Whether the key may change the app, which reading does not show."""
    heroku = patient.heroku
    # The question is a change of nothing, and a dry run changes nothing, not even that.
    if heroku is None or patient.settings.dry_run or not patient.process_types:
        return
    try:
        heroku.assert_may_scale(patient.deadline())
    except PlatformError as error:
        yield _refused("permission", error)
    else:
        yield Finding("permission", OK, "the key may scale the app")


def _refused(check: str, error: PlatformError) -> Finding:
    """What the platform said; the rest of the message says what to do."""
    what, _, mend = str(error).partition(". ")
    return Finding(check, FAILURE, what, mend or "see https://status.heroku.com, and try again")


def process_types_exist(patient: Patient) -> Iterator[Finding]:
    """Whether each pool is a process type of the app."""
    if patient.heroku is None:
        return
    types = patient.process_types
    missing = [pool.name for pool in patient.settings.pools if pool.name not in types]
    for pool in missing:
        yield Finding(
            "process-types",
            FAILURE,
            f"the app has no process type {pool!r}; it has {', '.join(sorted(types)) or 'none'}",
            "add a line for it to the Procfile and deploy, or name an existing type in "
            "middle_management_pools",
        )
    if not missing:
        yield Finding("process-types", OK, "each pool is a process type of the app")


def dynos_can_be_many(patient: Patient) -> Iterator[Finding]:
    """Whether the dynos' size allows as many as max_workers."""
    if patient.heroku is None:
        return
    found = False
    for pool in patient.settings.pools:
        if pool.name in patient.process_types:
            size = patient.process_types[pool.name].size
            for finding in _one_off(pool, size) if pool.one_off else _size(pool, size):
                found = True
                yield finding
    total = sum(pool.max_workers for pool in patient.settings.pools if not pool.one_off)
    if total > MOST_OF_AN_APP:
        found = True
        yield Finding(
            "dynos",
            WARNING,
            f"max_workers are {total} in all; an app may have {MOST_OF_AN_APP} dynos",
            "lower them, or ask Heroku for a higher limit",
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
            "lower it, or set middle_management_dyno_size to another size",
        )


def _size(pool: Pool, size: str) -> Iterator[Finding]:
    kind = size.lower()
    if kind.startswith(_SINGLE) and pool.max_workers > 1:
        yield Finding(
            "dynos",
            FAILURE,
            f"{pool.name} has {size} dynos, of which a process type can have one; its max_workers "
            f"is {pool.max_workers}",
            f"heroku ps:type {pool.name}=standard-1x, or middle_management_dynos = 'one-off'",
        )
    if kind.startswith(_LARGE) and pool.max_workers > MOST_OF_LARGE:
        yield Finding(
            "dynos",
            WARNING,
            f"{pool.name} has {size} dynos, of which a process type can have {MOST_OF_LARGE}; its "
            f"max_workers is {pool.max_workers}",
            "lower it, or ask Heroku for a higher limit",
        )
