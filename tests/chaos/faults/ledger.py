"""Trouble with the ledger: its server, its clock, and the lines of single workers to it."""

from __future__ import annotations

import time

from tests.chaos.lines import CUTS, line_of
from tests.chaos.stage import MAXIMA, Stage

from .act import Act, Hands
from .processes import kill_publisher

#: The clock is stepped by up to one of these (s), and is never off by more than twice that.
STEPS = (300, 300, 14_400)


def pause(hands: Hands) -> None:
    with hands.fault("ledger", sort="pause"):
        hands.stage.ledger.pause()
        try:
            hands.pause(1.0, 10.0)
        finally:
            hands.stage.ledger.resume()


def restart(hands: Hands) -> None:
    with hands.fault("ledger", sort="restart"):
        hands.stage.ledger.restart()


def flush(hands: Hands) -> None:
    with hands.fault("ledger", sort="flush"):
        hands.stage.ledger_client.flushall()


def kill(hands: Hands) -> None:
    with hands.fault("ledger", sort="kill"):
        hands.stage.ledger.kill()
        try:
            hands.pause(0.5, 8.0)
        finally:
            hands.stage.ledger.restart()


def demote(hands: Hands) -> None:
    """Fail over: the former primary goes on answering on its connections, but read only."""
    client = hands.stage.ledger_client
    with hands.fault("ledger", sort="demote"):
        client.replicaof("127.0.0.1", "1")
        try:
            hands.pause(1.0, 10.0)
        finally:
            client.replicaof("NO", "ONE")


def fill(hands: Hands) -> None:
    """Leave the ledger's Redis without memory."""
    client = hands.stage.ledger_client
    with hands.fault("ledger", sort="fill"):
        client.config_set("maxmemory", 1)
        try:
            hands.pause(1.0, 15.0)
        finally:
            client.config_set("maxmemory", 0)


def step_clock(hands: Hands) -> None:
    clock = hands.stage.clock
    assert clock is not None
    most = hands.random.choice(STEPS)
    step = hands.random.randint(-most, most)
    step = -step if abs(clock.offset + step) > 2 * max(STEPS) else step
    with hands.fault("clock", sort="back" if step < 0 else "ahead", step=step):
        clock.step(step)


def step_clock_unseen(hands: Hands) -> None:
    """Step the clock while those that know the ledger's time are cut off: newcomers come first."""
    lines, pids = hands.stage.lines, hands.stage.line_pids()
    assert lines is not None
    how = hands.random.choice(CUTS)
    for pid in pids:
        lines.cut(pid, how)
    own = {line_of(pid) for pid in pids}
    seconds = hands.random.uniform(5.0, 30.0)
    hands.lasting(seconds, lambda: lines.heal(own), "line", sort=f"{how}, all", pids=pids)
    step_clock(hands)
    kill_publisher(hands)


def cut_line(hands: Hands) -> None:
    """Cut a busy worker off from the ledger."""
    lines, pid = hands.stage.lines, hands.some_worker()
    assert lines is not None
    if pid is None:
        return
    lines.cut(pid, how := hands.random.choice(CUTS))
    seconds = hands.random.uniform(10.0, 90.0)
    own = {line_of(pid)}
    hands.lasting(seconds, lambda: lines.heal(own), "line", sort=f"{how}, at work", pid=pid)


def cut_newcomers(hands: Hands) -> None:
    """Keep workers that come up from reaching the ledger, so that they never report."""
    stage = hands.stage
    lines = stage.lines
    assert lines is not None
    how = hands.random.choice(CUTS)
    # A worker that hears nothing starts consuming anyway after a while, and is busy then.
    seconds = hands.random.uniform(60.0, 200.0)
    spared = {line_of(pid) for pid in stage.worker_pids()}
    lines.cut_newcomers(
        how,
        hands.random.randint(1, 3),
        lambda line: (
            line in spared or line in {line_of(p.pid) for p in (*stage.publishers, *stage.people)}
        ),
    )
    hands.lasting(seconds, lines.heal_newcomers, "line", sort=f"{how}, newcomers")
    pool = hands.some_pool()
    if pool is not None and not stage.one_off and hands.random.random() < 0.6:
        # More workers than are needed, so that they are soon to be fired.
        stage.sparse_until = time.monotonic() + seconds
        quantity = min(stage.emulator.quantities()[pool] + 2, MAXIMA[pool] + 2)
        with hands.fault("hand", pool=pool, quantity=quantity):
            stage.emulator.scale_by_hand(pool, quantity)


def _apart(stage: Stage) -> bool:
    return not stage.shared


ACTS = (
    Act(2, "ledger", pause, _apart),
    Act(2, "ledger", restart, _apart),
    Act(2, "ledger", flush, _apart),
    Act(2, "ledger", kill, _apart),
    Act(2, "ledger", demote, _apart),
    Act(2, "ledger", fill, _apart),
    Act(2, "clock", step_clock, lambda stage: stage.clock is not None),
    Act(1, "clock", step_clock_unseen, lambda stage: stage.clock is not None),
    Act(2, "line", cut_line, _apart),
    Act(2, "line", cut_newcomers, _apart),
)
