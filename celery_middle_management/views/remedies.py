"""What to do about a worker that hangs, and about a Redis that fails."""

from __future__ import annotations

from celery_middle_management.ledger.manual_scaling import OutcomeUnknown
from celery_middle_management.settings.model import Settings
from celery_middle_management.settings.secret import shown
from celery_middle_management.views.facts import Facts


def log_of(facts: Facts, worker: str) -> str:
    """Where to read the log of a *worker*, or on Heroku of a whole process type."""
    if facts.settings.platform == "local":
        from celery_middle_management.platforms.local_files import log_path

        return str(log_path(facts.settings.redis_url, worker))
    return f"`heroku logs --ps {worker}{facts.heroku_app}`"


def end_of(facts: Facts, worker: str) -> str:
    """A colon and the command that ends a hanging *worker*; empty if there is none."""
    if facts.settings.platform == "local":
        from celery_middle_management.platforms.local_files import pid_of

        pid = pid_of(facts.settings.redis_url, worker)
        return f": `kill {pid}`" if pid else ""
    one_off = any(p.hire for p in facts.snapshot.presences if p.name == worker)
    return f": `heroku ps:{'stop' if one_off else 'restart'} {worker}{facts.heroku_app}`"


def no_such_database(error: BaseException) -> str:
    """The remedy if Redis has no database with the number in its address; empty otherwise."""
    if "DB index" not in str(error):
        return ""
    return (
        "change the number at the end of middle_management_redis_url, or of the broker's address, "
        "to one that this Redis has, such as /0"
    )


def redis_failed(done: str, error: Exception, settings: Settings) -> str:
    """Say that the ledger's Redis could not be *done*, "read" or "written", and what to do.

    Or that it is not known whether it was.
    """
    where = shown(settings.redis_url.reveal())
    why = (" ".join(str(error).split()) or type(error).__name__).rstrip(".")
    if isinstance(error, OutcomeUnknown):
        return f"Redis did not answer ({where}): {why}"
    remedy = no_such_database(error) or (
        "check that it is up, that this process can reach it, and that "
        "middle_management_redis_url, or the broker's address, is right"
    )
    return f"Redis could not be {done} ({where}): {why}. {remedy[0].upper()}{remedy[1:]}"
