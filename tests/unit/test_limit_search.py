"""The search for how many workers a platform runs, from what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from celery_middle_management.core.limit_search import Search


@pytest.mark.parametrize("says", [True, False])
@pytest.mark.parametrize("allowed", range(-1, 12))
@pytest.mark.parametrize("least", [0, 3])
def test_as_many_as_are_allowed_are_found(allowed: int, least: int, says: bool) -> None:
    current, asked = 1, 12
    search = Search(current, asked, max(allowed, 0) if says else None)
    tried = []
    while (quantity := search.next(least)) is not None:
        tried.append(quantity)
        accepted = quantity <= allowed
        search = replace(search, **{"allowed" if accepted else "refused": quantity})
    assert all(max(current + 1, least) <= quantity < asked for quantity in tried)
    assert search.allowed == (allowed if allowed >= max(current + 1, least) else current)
    assert len(tried) == len(set(tried)) <= 4
    if says and search.allowed > current:
        assert len(tried) == 1


def test_what_is_said_may_be_too_much() -> None:
    """A limit counts other pools as well."""
    search = Search(0, 10, said=8)
    assert search.next(0) == 8
    assert replace(search, refused=8).next(0) == 4
