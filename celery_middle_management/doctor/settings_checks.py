"""Settings that are allowed, and may not do what is meant; and what is wrong by itself."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from celery_middle_management.doctor.finding import FAILURE, OK, WARNING, Finding
from celery_middle_management.doctor.installation import Installation


def tasks_are_published(installation: Installation) -> Iterator[Finding]:
    """Whether tasks reach the broker at all."""
    if installation.conf.task_always_eager:
        yield Finding(
            "eager",
            FAILURE,
            "task_always_eager is on: tasks run where they are called, and no worker is hired",
            "leave it out of the settings, but for those of tests:\ntask_always_eager = False",
        )
    else:
        yield Finding("eager", OK, "tasks go to the broker")


def draining_has_no_end(installation: Installation) -> Iterator[Finding]:
    """Whether a fire may kill a task."""
    timeout = installation.settings.drain_timeout
    if timeout is not None:
        yield Finding(
            "drain-timeout",
            WARNING,
            f"middle_management_drain_timeout is {timeout:g} s: a task that takes longer may be "
            "killed by a fire",
            "leave it out, unless tasks may hang for ever:\nmiddle_management_drain_timeout = None",
        )
    else:
        yield Finding("drain-timeout", OK, "no running task is killed by a fire")


def changes_are_made(installation: Installation) -> Iterator[Finding]:
    """Whether decisions are carried out."""
    if installation.settings.dry_run:
        yield Finding(
            "dry-run",
            WARNING,
            "middle_management_dry_run is on: no worker is hired or fired",
            f"leave it out when you trust what is decided:\n{installation.shell.celery} mm log",
        )
    else:
        yield Finding("dry-run", OK, "middle_management_dry_run is off")


def workers_are_changed_from_here(installation: Installation) -> Iterator[Finding]:
    """Whether this process is on a dyno of the app; elsewhere Heroku is asked nothing."""
    why = installation.settings.inactive
    if why:
        yield Finding(
            "place",
            WARNING,
            f"this process hires and fires no workers, for {why}: Heroku was not asked anything",
            "have a dyno of the app examined:\n"
            f"heroku run{installation.shell.heroku_app} {installation.shell.celery} mm doctor",
        )
    else:
        yield Finding("place", OK, "this process may hire and fire")


def nothing_is_paused(installation: Installation) -> Iterator[Finding]:
    """Whether a person has paused hires or fires."""
    pause = installation.status["pause"]
    if pause:
        which = " and ".join(what for what in ("hires", "fires") if pause[what])
        until = pause["until"] or "`mm resume`"
        what = f"{which} are paused by {pause['by']} until {until}"
        yield Finding(
            "pause", WARNING, what, f"when that is to end:\n{installation.shell.celery} mm resume"
        )
    else:
        yield Finding("pause", OK, "nothing is paused")


def nothing_goes_wrong(installation: Installation) -> Iterator[Finding]:
    """What ``mm status`` tells of trouble."""
    troubles = installation.status["trouble"]
    for trouble in troubles:
        whose = f"{trouble['pool']}: " if trouble["pool"] else ""
        since = f" (since {_minute(trouble['since'])})" if trouble["since"] else ""
        yield Finding(
            "trouble",
            FAILURE,
            f"{whose}{trouble['what']}{since}",
            "it is shown as long as it lasts, and its course by\n"
            f"{installation.shell.celery} mm log",
        )
    if not troubles:
        yield Finding("trouble", OK, "the last decisions went well")


def _minute(told: str) -> str:
    return f"{datetime.fromisoformat(told):%Y-%m-%d %H:%M}"
