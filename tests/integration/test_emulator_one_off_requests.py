"""What the emulator says to requests for one-off dynos: refusals, limits and faults."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.emulator import HerokuEmulator

from .test_emulator import SLEEPER, call, eventually, settle
from .test_emulator_one_offs import PATH, is_up, one_offs, post, run


@pytest.fixture
def emulator() -> Iterator[HerokuEmulator]:
    with HerokuEmulator(
        process_types={"web": 0, "worker": 0}, command=SLEEPER, boot_delay=0.05
    ) as emulator:
        yield emulator


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ([], "JSON object"),
        ({}, "command"),
        ({"command": None}, "command"),
        ({"command": " "}, "command"),
        ({"command": "true", "attach": 1}, "attach"),
        ({"command": "true", "attach": True}, "attach"),
        ({"command": "true", "env": ["A"]}, "env"),
        ({"command": "true", "env": {"A": 1}}, "env"),
        ({"command": "true", "env": {"A-B": "c"}}, "env"),
        ({"command": "true", "size": None}, "size"),
        ({"command": "true", "size": "standard-9x"}, "size"),
        ({"command": "true", "size": "dyno-1c-0.5gb"}, "size"),
        ({"command": "true", "type": 1}, "type"),
        ({"command": "true", "type": "a/b"}, "type"),
        ({"command": "true", "time_to_live": 0}, "time_to_live"),
        ({"command": "true", "time_to_live": 86_401}, "time_to_live"),
        ({"command": "true", "time_to_live": 1.5}, "time_to_live"),
        ({"command": "true", "time_to_live": True}, "time_to_live"),
        ({"command": "true", "force_no_tty": "no"}, "force_no_tty"),
        ({"command": "true", "quantity": 2}, "quantity"),
    ],
)
def test_what_is_wrong_is_named(emulator: HerokuEmulator, body: Any, named: str) -> None:
    answer = call(emulator, "POST", PATH, json=body)
    assert (answer.status_code, answer.json()["id"]) == (422, "invalid_params")
    assert named in answer.json()["message"]
    assert (emulator.dynos(), emulator.most_one_offs) == ([], 0)


@pytest.mark.parametrize(
    ("sizes", "limit"), [(("eco",), 1), (("Performance-M", "private-l-ram", "shield-s"), 5),
                         (("basic", "standard-1x", "Standard-2X"), 50)]
)  # fmt: skip
def test_the_sizes_of_a_class_share_its_limit(
    emulator: HerokuEmulator, sizes: tuple[str, ...], limit: int
) -> None:
    for nth in range(limit):
        run(emulator, "web", size=sizes[nth % len(sizes)])
    answer = post(emulator, "web", size=sizes[0]).json()
    assert (answer["id"], answer["limit"]) == ("cannot_run_above_limit", limit)
    assert str(limit) in answer["message"]
    assert len({dyno.name for dyno in one_offs(emulator)}) == limit
    run(emulator, "web", size="eco" if limit > 1 else "basic")


def test_the_emulators_size_and_limit_are_those_of_all_that_ask_for_none(
    emulator: HerokuEmulator,
) -> None:
    emulator.scale_by_hand("web", 1)
    emulator.size = "Eco"
    assert run(emulator)["size"] == "Eco"
    refused = post(emulator).json()
    assert (refused["limit"], refused["size"]) == (1, "Eco")
    emulator.one_off_limit = 2
    run(emulator)
    assert post(emulator).json()["limit"] == 2
    emulator.one_off_limit = None
    assert post(emulator).json()["limit"] == 1
    emulator.size = "unheard-of"
    assert "unheard-of" in post(emulator).json()["message"]


def test_on_fir_the_name_ends_at_random_and_the_limit_is_wide() -> None:
    with HerokuEmulator(process_types={"web": 0}, boot_delay=0.05, dyno_names="fir") as emulator:
        dyno = run(emulator, "web", size="dyno-1c-0.5gb")
        assert len(dyno["name"]) == len("run-23z34x56y1-w78k9")
        for _ in range(254):
            run(emulator, "web", size="eco")
        assert post(emulator, "web").json()["limit"] == 255


def test_the_most_that_ever_were_is_remembered(emulator: HerokuEmulator) -> None:
    dynos = [run(emulator) for _ in range(3)]
    emulator.scale_by_hand("worker", 2)
    for dyno in dynos[1:]:
        call(emulator, "DELETE", f"{PATH}/{dyno['name']}")
    eventually(lambda: len(emulator.stops) == 2)
    assert emulator.most_one_offs == 3
    emulator.forget_most()
    assert emulator.most_one_offs == 1
    run(emulator)
    assert emulator.most_one_offs == 2


def test_the_limit_holds_when_many_ask_at_once(emulator: HerokuEmulator) -> None:
    with ThreadPoolExecutor(8) as pool:
        statuses = list(
            pool.map(lambda _: post(emulator, size="performance-m").status_code, range(8))
        )
    assert sorted(statuses) == [201] * 5 + [422] * 3
    assert emulator.most_one_offs == 5


def test_skip_tells_of_a_dyno_that_never_is(emulator: HerokuEmulator) -> None:
    emulator.fault("skip", count=1)
    scaled = call(emulator, "PATCH", "/apps/myapp/formation/worker", json={"quantity": 1})
    assert scaled.status_code == 200
    settle(emulator, "worker.1")
    assert call(emulator, "POST", f"{PATH}/worker.1/actions/stop").status_code == 202
    assert post(emulator, size="none").status_code == 422  # that was the one

    emulator.fault("skip", count=1)
    dyno = run(emulator)
    assert re.fullmatch(r"run\.\d{4}", dyno["name"])
    assert (one_offs(emulator), emulator.most_one_offs) == ([], 0)
    assert emulator.requests[-1].met == "skip"
    assert call(emulator, "GET", f"{PATH}/{dyno['name']}").status_code == 404
    run(emulator)
    assert len(one_offs(emulator)) == 1


def test_double_starts_one_more_than_it_tells_of(emulator: HerokuEmulator) -> None:
    emulator.fault("double", count=1)
    dyno = run(emulator, env={"A": "b"})
    both = one_offs(emulator)
    assert dyno["name"] in {one.name for one in both}
    assert len({one.name for one in both}) == len({one.id for one in both}) == 2
    assert [one.env for one in both] == [{"A": "b"}] * 2
    assert emulator.most_one_offs == 2
    eventually(lambda: is_up(emulator, *(one.name for one in both)))


def test_it_meets_the_other_faults_as_scaling_does(emulator: HerokuEmulator) -> None:
    emulator.fault(status=503, count=1, methods=("POST",))
    assert post(emulator).status_code == 503
    emulator.fault("drop", count=1)
    with pytest.raises(requests.ConnectionError):
        post(emulator)
    assert emulator.dynos() == []

    emulator.fault("drop_after", count=1)
    with pytest.raises(requests.ConnectionError):
        post(emulator)
    assert len(one_offs(emulator)) == 1

    for kind in ("late_before", "late_after"):
        emulator.fault(kind, seconds=0.2, count=1)
        run(emulator)
    assert len(one_offs(emulator)) == 3

    emulator.fault("later_error", status=500, seconds=0.2, count=1)
    assert post(emulator).status_code == 500
    eventually(lambda: len(one_offs(emulator)) == 4 and emulator.pending == 0)
