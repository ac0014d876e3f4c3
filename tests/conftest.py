"""Fixtures for every test."""

from __future__ import annotations

from pathlib import Path

import pytest

from celery_middle_management.demo.redis_server import find_redis_server, no_redis_server
from tests.servers import rabbitmq, redis_server, redis_url

__all__ = ["rabbitmq", "redis_server", "redis_url"]

UNIT = Path(__file__).with_name("unit")


def pytest_configure(config: pytest.Config) -> None:
    """Say at once what is missing, rather than skip most of the tests."""
    if find_redis_server() is None and not all(map(_in_unit, config.args)):
        raise pytest.UsageError(f"{no_redis_server()}; tests/unit needs none")


def _in_unit(argument: str) -> bool:
    return Path(argument.partition("::")[0]).resolve().is_relative_to(UNIT)
