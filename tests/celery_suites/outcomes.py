"""The outcomes of the tests of a run, and how two runs differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

#: The outcome of a test with several reports (set-up, subtests …) is the first of these.
_WORST_FIRST = ("failed", "xfailed, passed", "skipped", "xfailed, skipped", "passed")


class Outcome(NamedTuple):
    """The outcome of one test."""

    word: str
    why: str


ABSENT = Outcome("not run", "")


class Difference(NamedTuple):
    """A test whose outcome differs from that of the plain run."""

    test: str
    plain: Outcome
    ours: Outcome


def read(path: Path) -> dict[str, Outcome]:
    """Read the outcome of each test from what `recorder` wrote."""
    outcomes: dict[str, Outcome] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        told = json.loads(line)
        outcome = Outcome(told["outcome"], told["why"])
        known = outcomes.get(told["test"], outcome)
        outcomes[told["test"]] = min(known, outcome, key=lambda o: _WORST_FIRST.index(o.word))
    return outcomes


def differences(plain: Mapping[str, Outcome], ours: Mapping[str, Outcome]) -> list[Difference]:
    """The tests whose outcomes differ."""
    pairs = [Difference(t, plain.get(t, ABSENT), ours.get(t, ABSENT)) for t in {*plain, *ours}]
    return sorted(pair for pair in pairs if pair.plain.word != pair.ours.word)


def summary(outcomes: Mapping[str, Outcome]) -> str:
    """The number of tests per outcome."""
    words = [outcome.word for outcome in outcomes.values()]
    return ", ".join(f"{words.count(word)} {word}" for word in sorted({*words}))
