"""The demo's messages and options, and that the README shows its output."""

from __future__ import annotations

import os
import pty
import re
import select
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.demo.__main__ import main
from celery_middle_management.demo.enter import Enter
from celery_middle_management.demo.outcome import NEXT, Outcome
from celery_middle_management.demo.view import action_line, drained, rest_line
from tests.servers import wait_for

README = Path(__file__).parent.parent.parent.joinpath("README.md").read_text()


@pytest.mark.parametrize(
    ("following", "busy", "why"),
    [
        ("worker.10", True, "the highest number goes first, and worker.10 is still busy"),
        ("worker.2", False, "worker.2 was not drained yet, and calls are 1.67 s apart"),
        (None, False, "each leaves when it is drained"),
    ],
)
def test_it_says_why_not_all_are_fired_at_once(following: str | None, busy: bool, why: str) -> None:
    line = rest_line(following, busy, 5 / 3)
    assert line.strip() == f"Not all: {why}."
    assert len(line) <= 80


def test_it_says_what_is_done_and_what_is_wrong() -> None:
    hire = {"action": "hire", "from": 0, "to": 3, "reason": "3 tasks"}
    trouble = {"action": "trouble", "kind": "platform", "reason": "worker.5 did not start in time"}
    assert action_line(hire).strip() == "hire 0 -> 3: 3 tasks"
    assert action_line(trouble).strip() == "trouble: worker.5 did not start in time"


def test_a_cordon_drains_no_worker_that_was_hired_after_it() -> None:
    cordon = Cordon(above=0, at=5.0, since={"worker.1": 3.0, "worker.2": 7.0, "worker.3": 5.0})
    assert drained(cordon, {"worker.1": 2.0, "worker.2": 6.0}) == {"worker.1"}
    assert drained(Cordon(), {"worker.1": 2.0}) == set()


def test_its_bill_is_for_days_as_busy_and_nights_at_zero() -> None:
    text = str(Outcome(tasks=110, succeeded=109, elapsed=40.0, night=8.6, paid=200.6, maximum=10))
    assert "109 of 110 tasks done in 40 s and 9 s of night" in text
    assert "Paid: 201 worker-seconds in these 40 s; 10 workers, always on: 400." in text
    # It adds up as it is shown: the share is rounded before.
    assert "That is 50%." in text
    assert "8 hours a night at zero: $250 x 50% x 16/24 = $83." in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_readme_shows_a_bill_that_adds_up() -> None:
    [shown] = re.findall(r"^ *(Paid: .*? = \$\d+\.)$", README, re.M | re.S)
    bill = re.sub("^ *", "", shown, flags=re.M)
    paid, always_on = map(float, re.findall(r"Paid: (\d+) .* always on: (\d+)", bill)[0])
    assert bill == Outcome(110, 110, always_on / 10, 0.0, paid, 10).bill


def test_the_next_command_is_the_readmes_first_step() -> None:
    assert NEXT in str(Outcome(1, 1, 1.0, 0.0, 1.0, 1))
    assert f"   {NEXT}\n" in README


@pytest.mark.parametrize(
    ("options", "trouble"),
    [
        (["--speed", "fast"], "'fast' is not a number from 0.1 to 5"),
        (["--speed", "0"], "'0' is not a number from 0.1 to 5"),
        (["--speed", "nan"], "'nan' is not a number from 0.1 to 5"),
        (["--repeat", "0"], "'0' is not a whole number from 1 up"),
        (["--repeat", "x"], "'x' is not a whole number from 1 up"),
        (["--step"], "standard input is not a terminal"),
        (["--sped"], "unrecognized arguments: --sped"),
    ],
)
def test_a_wrong_option_is_refused_in_a_line(
    options: list[str],
    trouble: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with open(os.devnull) as no_terminal:
        monkeypatch.setattr(sys, "stdin", no_terminal)
        with pytest.raises(SystemExit) as ended:
            main(options)
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(trouble)


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A terminal: what is written to the descriptor is typed by a person."""
    ours, terminal = pty.openpty()
    with os.fdopen(terminal) as stdin, os.fdopen(ours, "wb"):
        monkeypatch.setattr(sys, "stdin", stdin)
        yield ours


def test_enter_is_waited_for_unseen(keyboard: int) -> None:
    with Enter() as enter:
        os.write(keyboard, b"\n")
        wait_for(enter.pressed)
        assert not enter.pressed()
        os.write(keyboard, b"\n")
        wait_for(lambda: select.select([sys.stdin], [], [], 0)[0])
        enter.forget()
        assert not enter.pressed()
    os.write(keyboard, b"seen\n")
    assert os.read(keyboard, 100).startswith(b"seen")
