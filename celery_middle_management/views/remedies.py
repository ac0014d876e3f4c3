"""What to do about one worker: where its log is, and how it is started anew."""

from __future__ import annotations

from celery_middle_management.views.facts import Facts


def log_of(facts: Facts, worker: str) -> str:
    """Where to read what a *worker* prints, or on Heroku all of a process type."""
    if facts.settings.platform == "local":
        from celery_middle_management.platforms.local_files import log_path

        return str(log_path(facts.settings.redis_url, worker))
    return f"`heroku logs --ps {worker}{facts.on_heroku}`"


def end_of(facts: Facts, worker: str) -> str:
    """The command, after a colon, that ends a *worker* that hangs, and whatever it runs."""
    if facts.settings.platform == "local":
        from celery_middle_management.platforms.local_files import pid_of

        pid = pid_of(facts.settings.redis_url, worker)
        return f": `kill {pid}`" if pid else ""
    alone = any(p.hire for p in facts.snapshot.presences if p.name == worker)
    return f": `heroku ps:{'stop' if alone else 'restart'} {worker}{facts.on_heroku}`"
