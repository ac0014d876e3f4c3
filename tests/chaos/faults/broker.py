"""Trouble with the broker."""

from __future__ import annotations

import time

from tests.chaos.stage import Stage

from .act import Act, Hands

#: A dead connection may receive a message for this long (s), until its last request is over.
TAKES_FOR = 2.0


def purge(hands: Hands) -> None:
    hands.write("purged", ids=hands.stage.broker.purge())


def pause(hands: Hands) -> None:
    server = hands.stage.broker.server
    with hands.fault("broker", sort="pause"):
        server.pause()
        try:
            hands.pause(0.3, 3.0)
        finally:
            server.resume()


def restart(hands: Hands) -> None:
    with hands.fault("broker", sort="restart"):
        hands.stage.broker.server.restart()


def die(hands: Hands) -> None:
    """Let a worker's connections die without either end noticing; new ones work."""
    lines, pid = hands.stage.broker_lines, hands.some_worker()
    assert lines is not None
    if pid is None:
        return
    with hands.fault("broker", sort="dead connections", pid=pid):
        lines.die(pid)
        time.sleep(TAKES_FOR)


def has_lines(stage: Stage) -> bool:
    return stage.broker_lines is not None


ACTS = (
    Act(1, "purge", purge),
    Act(2, "broker", pause),
    Act(1, "broker", restart),
    Act(2, "deaf", die, has_lines),
)
