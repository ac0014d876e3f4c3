"""Run times: what is read, and what is drawn."""

from __future__ import annotations

import math
from random import Random
from statistics import fmean, pstdev

import pytest

from celery_middle_management.sim.runtimes import RunTimes


@pytest.mark.parametrize(
    ("text", "mean", "sigma"),
    [
        ("2", 2, 0),
        ("2:1.5", 2, 1.5),
        (" 0.25 : 0 ", 0.25, 0),
        ("1e9:10", 1e9, 10),
    ],
)
def test_a_mean_and_perhaps_a_sigma_are_read(text: str, mean: float, sigma: float) -> None:
    assert RunTimes.parse(text) == RunTimes(mean, sigma)


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "2:", ":1", "x", "2:x", "2:1:1", "2,5", "0", "-1", "nan", "inf", "1e10"),
        *("2:-0.1", "2:nan", "2:inf", "2:10.5"),
    ],
)
def test_anything_else_is_named_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="allowed") as caught:
        RunTimes.parse(text)
    assert str(caught.value) == (
        f"{text!r} is not MEAN or MEAN:SIGMA of run times; allowed: a mean (s) more than 0 and at "
        "most 1000000000, and a sigma from 0 to 10"
    )


def test_wrong_numbers_are_refused_however_they_are_given() -> None:
    with pytest.raises(ValueError, match=r"^'-1:0\.5' is not MEAN or"):
        RunTimes(-1, 0.5)


def test_without_sigma_each_run_time_is_the_mean() -> None:
    drawn = RunTimes(2.5).draw(3, Random(0))
    assert (drawn.typecode, list(drawn)) == ("d", [2.5, 2.5, 2.5])


@pytest.mark.parametrize("mean", [0.2, 30.0])
def test_the_mean_is_the_one_given_and_sigma_is_of_the_logarithms(mean: float) -> None:
    drawn = RunTimes(mean, 1.0).draw(20_000, Random(1))
    assert (drawn.typecode, len(drawn)) == ("d", 20_000)
    assert fmean(drawn) == pytest.approx(mean, rel=0.05)
    assert pstdev(map(math.log, drawn)) == pytest.approx(1, rel=0.05)


def test_the_largest_numbers_give_finite_run_times() -> None:
    drawn = RunTimes(1e9, 10).draw(10_000, Random(2))
    assert all(0 <= lasting < math.inf for lasting in drawn)


def test_a_seed_decides_what_is_drawn() -> None:
    first, same, other = (RunTimes(1, 1).draw(10, Random(seed)) for seed in (1, 1, 2))
    assert first == same != other


def test_none_can_be_drawn() -> None:
    assert len(RunTimes(1, 1).draw(0, Random(0))) == len(RunTimes(1).draw(0, Random(0))) == 0
