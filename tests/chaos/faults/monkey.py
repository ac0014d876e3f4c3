"""The monkey: it does one act after another, chosen by the seed, until it is caged."""

from __future__ import annotations

import threading

from tests.chaos.stage import Stage

from . import broker, ledger, platform, processes
from .act import Hands

ACTS = (*processes.ACTS, *platform.ACTS, *broker.ACTS, *ledger.ACTS)
#: Kinds of trouble. Several apps, a laptop with production's settings, a pool without a process
#: type, and people who hire, fire and pause are arranged by the stage.
KINDS = sorted({act.kind for act in ACTS} | {"apps", "laptop", "missing", "people"})
#: Seconds from the end of one act to the next. With less, no worker would ever be hired.
BETWEEN_ACTS = (1.5, 6.0)


class Monkey:
    """One thread: :meth:`release` starts it; :meth:`cage` stops it and heals what is broken."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._hands = Hands(stage)
        self._thread: threading.Thread | None = None
        without = stage.options.without
        self._acts = [act for act in ACTS if act.possible(stage) and act.kind not in without]

    def release(self) -> None:
        self._hands.caged.clear()
        self._stage.let_people_act(True)
        self._thread = threading.Thread(target=self._rampage, name="monkey", daemon=True)
        self._thread.start()

    def cage(self) -> None:
        self._hands.caged.set()
        self._stage.let_people_act(False)
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._hands.heal(everything=True)
        self._stage.emulator.clear_faults()
        for process in (*self._stage.publishers, *self._stage.people):
            process.ensure()

    def _rampage(self) -> None:
        hands, weights = self._hands, [act.weight for act in self._acts]
        while not hands.caged.wait(hands.random.uniform(*BETWEEN_ACTS)):
            hands.heal()
            if not self._acts:
                continue
            act = hands.random.choices(self._acts, weights)[0]
            try:
                act.do(hands)
            except Exception as error:  # noqa: BLE001 - a broken suite must not look green
                hands.write("broken", act=act.do.__name__, error=repr(error))
