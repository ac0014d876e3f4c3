"""Fixtures for every test, and what is skipped on a machine without Redis."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from celery_middle_management.demo.redis_server import find_redis_server, no_redis_server
from tests.plotting import plotting
from tests.servers import lonely_redis_url, rabbitmq, redis_server, redis_url

__all__ = ["lonely_redis_url", "plotting", "rabbitmq", "redis_server", "redis_url"]

UNIT = Path(__file__).with_name("unit")


def pytest_configure(config: pytest.Config) -> None:
    """Say first what is missing."""
    in_charge = not hasattr(config, "workerinput")  # one of xdist's would say it again
    if in_charge and find_redis_server() is None and not all(map(_in_unit, config.args)):
        print(f"{no_redis_server()}; all but tests/unit is skipped", file=sys.stderr)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without Redis, skip what may need it."""
    if find_redis_server() is None:
        for item in items:
            if not item.path.is_relative_to(UNIT):
                item.add_marker(pytest.mark.skip(reason=no_redis_server()))


def _in_unit(argument: str) -> bool:
    return Path(argument.partition("::")[0]).resolve().is_relative_to(UNIT)
