"""Trouble with the broker."""

from __future__ import annotations

from .act import Act, Hands


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


ACTS = (
    Act(1, "purge", purge),
    Act(2, "broker", pause),
    Act(1, "broker", restart),
)
