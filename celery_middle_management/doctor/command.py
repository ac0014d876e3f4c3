"""A command of a Procfile, as far as it can be read: what it starts, and with what options."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from itertools import takewhile

#: What comes before a program and starts it, ...
_WRAPPERS = re.compile(
    r"\w+=.*|exec|env|nice|time|newrelic-admin|run-program|ddtrace-run|opentelemetry-instrument"
    r"|poetry|pipenv|uv|run|python[\d.]*|-m"
)
#: ... and programs that are no Celery worker, nor start one.
_SERVERS = ("gunicorn", "uvicorn", "hypercorn", "daphne", "waitress-serve", "flower")
#: Subcommands of `celery` that start none.
_OTHERS = ("beat", "flower", "events", "control", "inspect", "status", "shell", "purge", "mm")
#: Where one command ends, and another begins.
_ENDS = ("&", "&&", "||", "|", ";")
#: Options of `celery` itself that take a value.
_VALUED = ("-A", "--app", "-b", "--broker", "--result-backend", "--loader", "--config", "--workdir")


@dataclass(frozen=True)
class WorkerCommand:
    """What of the arguments of a ``celery worker`` matters here."""

    #: None: those that the app declares.
    queues: tuple[str, ...] | None = None
    beat: bool = False
    autoscale: bool = False
    gossip: bool = True
    heartbeat: bool = True
    purge: bool = False


def worker_command(command: str) -> WorkerCommand | None:
    """*command* read; None where it is no ``celery … worker`` that can be read."""
    words = _celery(command)
    if not words or words[0] != "worker":
        return None
    arguments = words[1:]
    queues = _value(arguments, "-Q", "--queues")
    return WorkerCommand(
        queues=tuple(queues.split(",")) if queues else None,
        beat=any(re.fullmatch("--beat|-[BE]*B[BE]*", word) for word in arguments),
        autoscale=_value(arguments, "", "--autoscale") is not None,
        gossip="--without-gossip" not in arguments,
        heartbeat="--without-heartbeat" not in arguments,
        purge=bool({"--purge", "--discard"}.intersection(arguments)),
    )


def starts_no_worker(command: str) -> bool:
    """Whether *command* surely starts no Celery worker; of most wrappers that cannot be said."""
    words = _split(command)
    if any(word.endswith(_ENDS) for word in words):
        return False  # something else is started, too
    if celerys := _celery(command):
        return celerys[0] in _OTHERS
    program = next((word for word in words if not _WRAPPERS.fullmatch(word)), "")
    return program.rpartition("/")[2] in _SERVERS


def _celery(command: str) -> list[str]:
    """The subcommand of the first ``celery`` in *command* and what follows; empty without one."""
    words = _split(command)
    at = next((n for n, word in enumerate(words) if re.search(r"(^|/)celery$", word)), len(words))
    rest = list(takewhile(lambda word: word not in _ENDS, words[at + 1 :]))
    while rest and rest[0].startswith("-"):
        rest = rest[2:] if rest[0] in _VALUED else rest[1:]
    return rest


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return []


def _value(arguments: list[str], short: str, long: str) -> str | None:
    for index, word in enumerate(arguments):
        if word in (short, long):
            return "".join(arguments[index + 1 : index + 2])
        if word.startswith(f"{long}="):
            return word.removeprefix(f"{long}=")
        if short and word.startswith(short) and not word.startswith("--"):
            return word.removeprefix(short)
    return None
