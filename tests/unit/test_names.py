"""Pool and number in a worker's name."""

from __future__ import annotations

import pytest

from celery_middle_management.core.traits import DOTTED, Stops, Traits
from celery_middle_management.platforms import Platform


@pytest.mark.parametrize(
    ("name", "pool", "number"),
    [
        ("worker.3", "worker", 3),
        ("pdf-maker.12", "pdf-maker", 12),
        ("worker-23z34x56y-w78k9", "worker", None),
        ("pdf-maker-23z34x56y-w78k9", "pdf-maker", None),
        ("celery@some.host", None, None),
        ("worker.0", None, None),
        ("run.one-off", None, None),
        ("worker", None, None),
    ],
)
def test_names(name: str, pool: str | None, number: int | None) -> None:
    assert Platform.identity({"DYNO": name}, "celery@here") == (pool, name, "")
    assert Platform.identity({}, name) == (pool, name, "")
    assert DOTTED.number_of(name) == number


def test_a_number_means_nothing_where_the_platform_stops_any_worker() -> None:
    assert Traits(Stops.ANY).number_of("worker.3") is None
