"""Reads a Procfile's command: which Celery worker it starts, and with which options."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from itertools import takewhile

#: Words that stand before the program that they start.
_WRAPPERS = re.compile(
    r"\w+=.*|exec|env|nice|time|newrelic-admin|run-program|ddtrace-run|opentelemetry-instrument"
    r"|poetry|pipenv|uv|run|python[\d.]*|-m"
)
#: Programs that are not a Celery worker and do not start one.
_SERVERS = ("gunicorn", "uvicorn", "hypercorn", "daphne", "waitress-serve", "flower")
#: Subcommands of `celery` that start no worker.
_OTHERS = ("beat", "flower", "events", "control", "inspect", "status", "shell", "purge", "mm")
#: What separates one shell command from the next.
_ENDS = ("&", "&&", "||", "|", ";")
#: Options of `celery` itself that take a value.
_VALUED = ("-A", "--app", "-b", "--broker", "--result-backend", "--loader", "--config", "--workdir")


@dataclass(frozen=True)
class WorkerCommand:
    """The arguments of ``celery worker`` that the checks look at."""

    #: None: the queues that the app declares.
    queues: tuple[str, ...] | None = None
    beat: bool = False
    autoscale: bool = False
    gossip: bool = True
    heartbeat: bool = True
    purge: bool = False
    #: The execution pool; None: the one that the app sets.
    execution: str | None = None


def worker_command(command: str) -> WorkerCommand | None:
    """Parse *command*; return None unless it is a readable ``celery … worker``."""
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
        execution=_value(arguments, "-P", "--pool"),
    )


def starts_no_worker(command: str) -> bool:
    """Return True if *command* certainly starts no Celery worker.

    It returns False for wrapper scripts, since they may start one.
    """
    words = _split(command)
    if any(word.endswith(_ENDS) for word in words):
        return False  # it starts something else, too
    if celerys := _celery(command):
        return celerys[0] in _OTHERS
    program = next((word for word in words if not _WRAPPERS.fullmatch(word)), "")
    return program.rpartition("/")[2] in _SERVERS


def _celery(command: str) -> list[str]:
    """The subcommand of the first ``celery`` in *command* and the words after it, if any."""
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
