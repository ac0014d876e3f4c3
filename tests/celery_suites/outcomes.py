"""What became of the tests of a run, and how two runs differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

#: Of several reports on one test (its set-up, its subtests …), the first of these is its outcome.
_WORST_FIRST = ("failed", "xfailed, passed", "skipped", "xfailed, skipped", "passed")


class Outcome(NamedTuple):
    """What became of one test."""

    word: str
    why: str


ABSENT = Outcome("not run", "")


class Difference(NamedTuple):
    """A test with another outcome than when it ran plain."""

    test: str
    plain: Outcome
    ours: Outcome


def read(path: Path) -> dict[str, Outcome]:
    """The outcome of each test, of what `recorder` wrote."""
    outcomes: dict[str, Outcome] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        told = json.loads(line)
        outcome = Outcome(told["outcome"], told["why"])
        known = outcomes.get(told["test"], outcome)
        outcomes[told["test"]] = min(known, outcome, key=lambda o: _WORST_FIRST.index(o.word))
    return outcomes


def differences(plain: Mapping[str, Outcome], ours: Mapping[str, Outcome]) -> list[Difference]:
    """The tests whose outcome is another."""
    pairs = [Difference(t, plain.get(t, ABSENT), ours.get(t, ABSENT)) for t in {*plain, *ours}]
    return sorted(pair for pair in pairs if pair.plain.word != pair.ours.word)


def summary(outcomes: Mapping[str, Outcome]) -> str:
    """How many there are of each."""
    words = [outcome.word for outcome in outcomes.values()]
    return ", ".join(f"{words.count(word)} {word}" for word in sorted({*words}))
