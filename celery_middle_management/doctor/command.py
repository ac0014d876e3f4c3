"""A ``celery worker`` as a Procfile starts it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass


@dataclass(frozen=True)
class WorkerCommand:
    """What of its arguments matters here."""

    #: None: those that the app declares.
    queues: tuple[str, ...] | None = None
    beat: bool = False
    autoscale: bool = False
    gossip: bool = True
    heartbeat: bool = True


def worker_command(command: str) -> WorkerCommand | None:
    """*command* read; None where it is no ``celery … worker`` that can be read."""
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    if "worker" not in words or not any(re.search(r"(^|/)celery$", word) for word in words):
        return None
    arguments = words[words.index("worker") + 1 :]
    queues = _value(arguments, "-Q", "--queues")
    return WorkerCommand(
        queues=tuple(queues.split(",")) if queues else None,
        beat=any(re.fullmatch("--beat|-[BE]*B[BE]*", word) for word in arguments),
        autoscale=_value(arguments, "", "--autoscale") is not None,
        gossip="--without-gossip" not in arguments,
        heartbeat="--without-heartbeat" not in arguments,
    )


def _value(arguments: list[str], short: str, long: str) -> str | None:
    for index, word in enumerate(arguments):
        if word in (short, long):
            return "".join(arguments[index + 1 : index + 2])
        if word.startswith(f"{long}="):
            return word.removeprefix(f"{long}=")
        if short and word.startswith(short) and not word.startswith("--"):
            return word.removeprefix(short)
    return None
