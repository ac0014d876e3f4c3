"""The stage that most checks are tried on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.stage import WORKER, Stage, stage


@pytest.fixture(name="on")
def _on(redis_url: str) -> Iterator[Stage]:
    with stage(redis_url, command={"worker": WORKER}) as on:
        yield on
