"""What a worker's name tells."""

from __future__ import annotations

import pytest

from celery_middle_management.core.names import number_of, pool_of


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
    assert (pool_of(name), number_of(name)) == (pool, number)
