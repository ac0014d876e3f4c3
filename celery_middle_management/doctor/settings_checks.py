"""Checks of settings that are allowed but seldom meant, and of what ``mm status`` reports."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from celery_middle_management.doctor.finding import FAILURE, OK, WARNING, Finding
from celery_middle_management.doctor.installation import Installation
from celery_middle_management.reporting.webhook import reach


def tasks_are_published(installation: Installation) -> Iterator[Finding]:
    """Check that tasks reach the broker at all."""
    if installation.conf.task_always_eager:
        yield Finding(
            "eager",
            FAILURE,
            "task_always_eager is on: tasks run where they are called, and no worker is hired",
            "use it in tests only:\napp.conf.task_always_eager = False",
        )
    else:
        yield Finding("eager", OK, "tasks go to the broker")


def draining_has_no_end(installation: Installation) -> Iterator[Finding]:
    """Check that firing a worker waits for its tasks, however long they take."""
    timeout = installation.settings.drain_timeout
    if timeout is not None:
        yield Finding(
            "drain-timeout",
            WARNING,
            f"middle_management_drain_timeout is {timeout:g} s: a task that takes longer may be "
            "killed when its worker is fired",
            "remove the setting unless tasks may hang for ever:\n"
            "app.conf.middle_management_drain_timeout = None",
        )
    else:
        yield Finding("drain-timeout", OK, "firing a worker kills no running task")


def changes_are_made(installation: Installation) -> Iterator[Finding]:
    """Check that decisions are carried out."""
    if installation.settings.dry_run:
        yield Finding(
            "dry-run",
            WARNING,
            "middle_management_dry_run is on: no worker is hired or fired",
            f"remove it once you trust its decisions:\n{installation.shell.celery} mm log",
        )
    else:
        yield Finding("dry-run", OK, "middle_management_dry_run is off")


def workers_are_changed_from_here(installation: Installation) -> Iterator[Finding]:
    """Check that this process runs on a dyno of the app; elsewhere Heroku is not called."""
    why = installation.settings.inactive
    if why:
        yield Finding(
            "place",
            WARNING,
            f"this process neither hires nor fires workers, because {why}: Heroku was not checked",
            "run this on a dyno of the app:\n"
            f"heroku run{installation.shell.heroku_app} {installation.shell.celery} mm doctor",
        )
    else:
        yield Finding("place", OK, "this process may hire and fire")


def webhook_answers(installation: Installation) -> Iterator[Finding]:
    """Check that the webhook's server can be reached; a message is not sent unasked."""
    address = installation.settings.webhook
    if address is None:
        yield Finding("webhook", OK, "no webhook is set")
    elif trouble := reach(address):
        yield Finding(
            "webhook",
            WARNING,
            f"it cannot be reached from here, so messages of processes here are lost: {trouble}",
            "run this where the app runs; give the address as its maker shows it, or none:\n"
            "app.conf.middle_management_webhook = None",
        )
    else:
        what = "the webhook's server can be reached; what it answers, only a message shows"
        yield Finding("webhook", OK, what)


def nothing_is_paused(installation: Installation) -> Iterator[Finding]:
    """Check that hires and fires are not paused."""
    pause = installation.status["pause"]
    if pause:
        stops: dict[str, list[str]] = {}
        for what in (what for what in ("hires", "fires") if pause[what]):
            end, by = pause[f"{what}_until"], pause[f"{what}_by"]
            until = _minute(end) if end else "`mm resume`"
            said = f"{by} {'have' if ', ' in by else 'has'} paused {{}} until {until}"
            stops.setdefault(said, []).append(what)
        found = "; ".join(said.replace("{}", " and ".join(what)) for said, what in stops.items())
        yield Finding(
            "pause", WARNING, found, f"to end the pause:\n{installation.shell.celery} mm resume"
        )
    else:
        yield Finding("pause", OK, "nothing is paused")


def nothing_goes_wrong(installation: Installation) -> Iterator[Finding]:
    """Repeat what ``mm status`` says is wrong."""
    troubles = installation.status["trouble"]
    for trouble in troubles:
        whose = f"{trouble['pool']}: " if trouble["pool"] else ""
        since = f" (since {_minute(trouble['since'])})" if trouble["since"] else ""
        yield Finding(
            "trouble",
            FAILURE,
            f"{whose}{trouble['what']}{since}",
            "`mm status` shows it until it is over; to see its history:\n"
            f"{installation.shell.celery} mm log",
        )
    if not troubles:
        yield Finding("trouble", OK, "`mm status` finds nothing wrong")


def _minute(at: str) -> str:
    return f"{datetime.fromisoformat(at):%Y-%m-%d %H:%MZ}"
