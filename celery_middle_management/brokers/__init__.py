"""Brokers, which tell how many messages of any priority wait in each queue."""

from __future__ import annotations

from typing import Any

import redis
from celery import Celery

from celery_middle_management.brokers.base import Broker
from celery_middle_management.brokers.kombu import KombuBroker
from celery_middle_management.brokers.redis import RedisBroker
from celery_middle_management.settings.model import Settings
from celery_middle_management.settings.redis_address import Place, place_of
from celery_middle_management.settings.redis_url import celerys


def broker_of(app: Celery, settings: Settings, client: redis.Redis) -> Broker:
    """Return a reader for the broker of *app*; *client* is the ledger's connection."""
    if shares_ledger(app, settings):
        return RedisBroker(client, app.conf.broker_transport_options or {}, app)
    return KombuBroker(app)


def shares_ledger(app: Celery, settings: Settings) -> bool:
    """Return whether the ledger is in the broker's own Redis database."""
    found = celerys(app.conf)
    if found is None or found.setting != "broker_url":
        return False
    try:
        with app.connection_for_read() as connection:
            return bool(
                connection.transport.driver_type == "redis"
                and place_of(settings.redis_url)
                == Place(
                    None,
                    connection.hostname or "localhost",
                    connection.port or 6379,
                    _database(connection.virtual_host),
                )
            )
    except Exception:  # noqa: BLE001 - the address is unusable: the count will fail too
        return False


def _database(virtual_host: Any) -> int:
    number = str(virtual_host or "/").strip("/")
    return int(number) if number.isdigit() else 0
