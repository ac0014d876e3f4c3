"""The ledger's Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

import redis

from celery_middle_management.doctor.command import WorkerCommand
from celery_middle_management.doctor.finding import FAILURE, OK, WARNING, Finding
from celery_middle_management.doctor.patient import Patient
from celery_middle_management.platforms import PlatformError

#: Connections of a worker whose broker is Redis, as counted with Celery 5.7: at least, with ours,
#: and how many more for each of its services.
_LEAST, _FOR_GOSSIP, _FOR_HEARTBEAT, _FOR_REMOTE_CONTROL = 3, 4, 2, 2
#: This process's clock may differ from Redis' by so much (s).
_APART = 5.0


def redis_answers(patient: Patient) -> Iterator[Finding]:
    """Whether Redis can be reached, and does what the ledger asks of it."""
    try:
        patient.ledger.probe()
    except redis.exceptions.NoPermissionError as error:
        patient.redis_trouble = error
        yield Finding(
            "redis",
            FAILURE,
            f"Redis refuses what the ledger needs: {error}",
            "allow its user the ledger's keys and the commands of its scripts: "
            "ACL SETUSER … ~{middle-management:*}:* +@all -@dangerous +info",
        )
    except redis.ResponseError as error:
        patient.redis_trouble = error
        yield Finding(
            "redis",
            FAILURE,
            f"Redis cannot do what the ledger needs: {error}",
            "check the address's database, and that nobody else writes keys that begin with "
            "{middle-management:",
        )
    except (redis.RedisError, OSError) as error:
        patient.redis_trouble = error
        yield Finding(
            "redis",
            FAILURE,
            f"Redis cannot be reached: {error}",
            "check middle_management_redis_url, or the broker's address, and that the process "
            "that asks may connect to it",
        )
    else:
        yield Finding("redis", OK, "Redis answers, and lets the ledger in")


def redis_evicts_nothing(patient: Patient) -> Iterator[Finding]:
    """Whether Redis drops keys when its memory is full."""
    policy = str(patient.info.get("maxmemory_policy", "noeviction"))
    if policy == "noeviction":
        yield Finding("eviction", OK, "Redis evicts no keys")
    else:
        yield Finding(
            "eviction",
            FAILURE,
            f"Redis evicts keys when its memory is full (maxmemory-policy {policy}): the ledger's, "
            "and where it is the broker, tasks",
            "heroku redis:maxmemory --policy noeviction, or CONFIG SET maxmemory-policy noeviction",
        )


def connections_suffice(patient: Patient) -> Iterator[Finding]:
    """Whether Redis has connections for as many workers as may be hired."""
    most = int(patient.info.get("maxclients", 0))
    used = int(patient.info.get("connected_clients", 0))
    maximum = sum(pool.max_workers for pool in patient.settings.pools)
    needed = used + sum(
        max(pool["workers"]["max"] - len(pool["workers"]["live"]), 0)
        * _connections(patient, pool["name"])
        for pool in patient.status["pools"]
    )
    said = f"{used} of {most} connections are used; about {needed} with {maximum} workers"
    if most and needed > most:
        yield Finding(
            "connections",
            FAILURE,
            said,
            "take a plan with more connections, lower max_workers, or start workers with "
            "--without-gossip --without-heartbeat and set worker_enable_remote_control=False and "
            "broker_pool_limit=1: each needs three then",
        )
    else:
        yield Finding("connections", OK, said)


def _connections(patient: Patient, pool: str) -> int:
    """How many a worker of *pool* opens to the ledger's Redis; the most, if it is not known."""
    if not patient.in_ledgers_redis:
        return 1
    command = WorkerCommand()
    with suppress(PlatformError):  # which another check tells
        command = patient.commands.get(pool, command)
    remote = patient.conf.worker_enable_remote_control
    return (
        _LEAST
        + command.gossip * _FOR_GOSSIP
        + command.heartbeat * _FOR_HEARTBEAT
        + bool(remote) * _FOR_REMOTE_CONTROL
    )


def redis_is_new_enough(patient: Patient) -> Iterator[Finding]:
    """Whether Redis has what the scripts use."""
    version = str(patient.info.get("redis_version", ""))
    if version.split(".", maxsplit=1)[0].isdecimal() and int(version.split(".", maxsplit=1)[0]) < 5:
        yield Finding("redis-version", FAILURE, f"Redis is {version}", "5 or newer is needed")
    else:
        yield Finding("redis-version", OK, f"Redis is {version}")


def clocks_agree(patient: Patient) -> Iterator[Finding]:
    """Whether this machine's clock and that of Redis show about the same."""
    told: tuple[int, int] = patient.redis.time()
    apart = time.time() - (told[0] + told[1] / 1e6)
    if abs(apart) > _APART:
        yield Finding(
            "clocks",
            WARNING,
            f"this machine's clock is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} "
            "Redis': an ETA is then due as much too early or too late",
            "set both by NTP",
        )
    else:
        yield Finding("clocks", OK, "this machine's clock and Redis' agree")
