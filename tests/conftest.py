"""Fixtures for every test."""

from __future__ import annotations

from tests.servers import rabbitmq, redis_server, redis_url

__all__ = ["rabbitmq", "redis_server", "redis_url"]
