"""The policies that a simulation knows, by name."""

from __future__ import annotations

import re
from array import array
from pathlib import Path

import pytest

from celery_middle_management.cli.simulate_source import USUAL
from celery_middle_management.sim import (
    Model,
    PolicyError,
    Trace,
    policy_named,
    simulate,
)
from celery_middle_management.sim.cluster import Cluster
from celery_middle_management.sim.policies import ALLOWED

PAGE = Path(__file__).parents[3] / "docs" / "simulate.md"
TABLE = PAGE.read_text().partition("| `--policy` |")[2].partition("\n\n")[0]
#: The names in the first column of the page's table.
DOCUMENTED = re.findall(r"`([^`]+)`", " ".join(re.findall(r"^\| (`.*?) \|", TABLE, re.M)))
#: A task each minute for ten minutes.
TRACE = Trace("quiet", array("d", range(0, 600, 60)), array("d", [1.0]) * 10)


def first_check(name: str, seed: int) -> float:
    """Return when (s) a policy decides for the first time."""
    model = Model(seed=seed)
    return policy_named(name).scaler(Cluster(TRACE, model, managed=False)).next_at


def test_the_page_names_some_of_every_kind() -> None:
    kinds = {name.partition(":")[0] for name in DOCUMENTED}
    assert kinds == {re.match("[a-z_]+", one)[0] for one in ALLOWED.split(", ")[:-1]}  # type: ignore[index]
    assert "hirefire:5@15" in DOCUMENTED


@pytest.mark.parametrize("name", sorted({*DOCUMENTED, *USUAL}))
def test_every_documented_name_can_be_simulated(name: str) -> None:
    policy = policy_named(name)
    outcome = simulate(TRACE, policy, Model(maximum=5))
    assert (policy.name, outcome.policy) == (name, name)
    assert (outcome.unfinished, outcome.efficiency > 0) == (0, True)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_only_our_own_is_managed(name: str) -> None:
    assert policy_named(name).managed == name.startswith(("jobs_per_worker:", "max_wait:"))


@pytest.mark.parametrize("one_off", [False, True])
def test_decisions_of_a_simulation_are_not_logged(
    one_off: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Else they would be taken for real ones."""
    caplog.set_level("DEBUG")
    outcome = simulate(TRACE, policy_named("jobs_per_worker:1"), Model(one_off=one_off))
    assert outcome.calls > 2
    assert caplog.text == ""


@pytest.mark.parametrize(
    "name",
    [
        *("fixed:1", "keda:9999", "hirefire:1@1", "hirefire:9999@9999"),
        *("max_wait:1", "max_wait:0.001", "max_wait:999999.999"),
    ],
)
def test_the_least_and_the_greatest_numbers_are_taken(name: str) -> None:
    assert policy_named(name).name == name


@pytest.mark.parametrize(
    "name",
    [
        *("", ":", "5", "@", "nonsense", "latency:5", "JOBS_PER_WORKER:5", " fixed:5", "fixed:5 "),
        *("jobs_per_worker", "fixed", "hirefire", "keda", "aws", "original", "fixed:", "keda:"),
        *("jobs_per_worker:0", "fixed:0", "hirefire:0", "keda:0", "aws:0", "original:0"),
        *("fixed:-1", "fixed:+1", "fixed:1.5", "fixed:1e3", "fixed:1_0", "fixed:nan", "aws:inf"),
        *("fixed:02", "hirefire:5@015"),
        *("fixed:10000", "jobs_per_worker:99999999999999999999", "fixed:\uff15", "fixed:x"),
        *("judoscale:5", "judoscale:0", "judoscale:", "judoscale@15"),
        *("hirefire:5@0", "hirefire:5@", "hirefire:5@-1", "hirefire:5@nan", "hirefire:5@1.5"),
        *("hirefire:5@10000", "hirefire:5@15@15", "hirefire@15", "hirefire:5@ 15"),
        *("max_wait", "max_wait:", "max_wait:0", "max_wait:0.000", "max_wait:-1", "max_wait:1e3"),
        *("max_wait:.5", "max_wait:5.", "max_wait:05", "max_wait:1000000", "max_wait:1.2345"),
        *("max_wait:inf", "max_wait:auto", "max_wait:5@3", "max_wait:\uff15", "max_wait:5\n"),
        *("jobs_per_worker:Auto", "jobs_per_worker:auto@3", "fixed:auto", "hirefire:auto"),
        *("fixed:5@3", "keda:5@3", "aws:5@3", "original:5@3", "jobs_per_worker:5@3"),
        *("fixed:5\n", "fixed:5\nfixed:6", "fixed:5,keda:5", "\x1b[31m", "\udcff"),
    ],
)
def test_anything_else_is_named_with_what_is_allowed(name: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy_named(name)
    message = str(caught.value)
    assert message == f"there is no policy {name!r}; allowed: {ALLOWED}"
    assert message.isprintable()


def test_what_is_allowed_is_every_kind_and_the_range_of_its_numbers() -> None:
    assert ALLOWED == (
        "jobs_per_worker:N, jobs_per_worker:auto, max_wait:S, fixed:N, hirefire:N (or "
        "hirefire:N@SECONDS), judoscale, keda:N, aws:N, original:N, where N and SECONDS are whole "
        "numbers from 1 to 9999 and S is a number of seconds such as 30 or 2.5"
    )


def test_a_long_name_is_not_repeated_in_full() -> None:
    with pytest.raises(PolicyError) as caught:
        policy_named("fixed:" + "9" * 5000)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("name", "interval"), [("hirefire:5", 60), ("hirefire:5@15", 15), ("hirefire:5@1", 1)]
)
def test_a_seed_decides_when_checks_begin(name: str, interval: int) -> None:
    begins = [first_check(name, seed) for seed in range(100)]
    assert begins == [first_check(name, seed) for seed in range(100)]
    assert 0 <= min(begins) < interval * 0.1
    assert interval * 0.9 < max(begins) < interval


def test_checks_are_made_at_the_interval_that_is_named() -> None:
    """The first task waits from the first check until its worker is up."""
    one = Trace("one", array("d", [0.0]), array("d", [1.0]))
    for name in ("hirefire:5", "hirefire:5@15", "hirefire:5@300"):
        outcome = simulate(one, policy_named(name), Model(boot=3.0, latency=0.5))
        assert outcome.waits.max == pytest.approx(first_check(name, 0) + 3.5)


def test_a_number_counts() -> None:
    peaks = [simulate(TRACE, policy_named(f"fixed:{n}"), Model()).peak_workers for n in (1, 7)]
    assert peaks == [1, 7]
    rush = Trace("rush", array("d", [0.0]) * 40, array("d", [100.0]) * 40)
    for kind, most in (("jobs_per_worker", 10), ("hirefire", 10), ("original", 10), ("keda", 9)):
        few, many = (simulate(rush, policy_named(f"{kind}:{n}"), Model()) for n in (20, 4))
        # By KEDA's next check a task has begun, and it counts those that wait.
        assert (few.peak_workers, many.peak_workers) == (2, most), kind
