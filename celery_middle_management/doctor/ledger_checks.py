"""The ledger's Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

import redis

from celery_middle_management.doctor.command import WorkerCommand
from celery_middle_management.doctor.finding import FAILURE, OK, WARNING, Finding
from celery_middle_management.doctor.installation import Installation
from celery_middle_management.platforms import PlatformError

#: Connections of a worker whose broker is Redis, as counted with Celery 5.7: at least, with ours,
#: and how many more for each of its services.
_LEAST, _FOR_GOSSIP, _FOR_HEARTBEAT, _FOR_REMOTE_CONTROL = 3, 4, 2, 2
#: This process's clock may differ from Redis' by so much (s).
_APART = 5.0
#: With so much of its memory in use, Redis is nearly full.
_NEARLY_FULL = 0.9


def redis_answers(installation: Installation) -> Iterator[Finding]:
    """Whether Redis can be reached, and does what the ledger asks of it."""
    try:
        installation.redis.ledger.probe()
    except redis.exceptions.NoPermissionError as error:
        installation.redis.failure = error
        yield Finding(
            "redis",
            FAILURE,
            f"Redis refuses what the ledger needs: {error}",
            "allow its user the ledger's keys and the commands of its scripts:\n"
            "ACL SETUSER name ~{middle-management:*}:* +@all -@dangerous +info",
        )
    except redis.ResponseError as error:
        installation.redis.failure = error
        yield Finding(
            "redis",
            FAILURE,
            f"Redis cannot do what the ledger needs: {error}",
            "check the database of middle_management_redis_url, and what else writes keys that "
            "begin so:\nredis-cli -u \"$REDIS_URL\" --scan --pattern '{middle-management:*'",
        )
    except (redis.RedisError, OSError) as error:
        installation.redis.failure = error
        yield Finding(
            "redis",
            FAILURE,
            f"Redis cannot be reached: {error}",
            "check middle_management_redis_url, or the broker's address, and that this process "
            f"may connect to it{installation.shell.heroku('config')}",
        )
    else:
        yield Finding("redis", OK, "Redis answers, and lets the ledger in")


def redis_evicts_nothing(installation: Installation) -> Iterator[Finding]:
    """Whether Redis drops keys when its memory is full."""
    policy = str(installation.redis.info.get("maxmemory_policy", "noeviction"))
    if policy == "noeviction":
        yield Finding("eviction", OK, "Redis evicts no keys")
    else:
        yield Finding(
            "eviction",
            FAILURE,
            f"Redis evicts keys when its memory is full (maxmemory-policy {policy}): the ledger's, "
            "and where it is the broker, tasks",
            "have it refuse writes instead, by your provider's command or Redis' own:"
            f"{installation.shell.heroku('redis:maxmemory --policy noeviction')}\n"
            'redis-cli -u "$REDIS_URL" CONFIG SET maxmemory-policy noeviction',
        )


def redis_has_room(installation: Installation) -> Iterator[Finding]:
    """Whether Redis, which evicts nothing, has memory left."""
    used = int(installation.redis.info.get("used_memory", 0))
    most = int(installation.redis.info.get("maxmemory", 0))
    if not most or used < most * _NEARLY_FULL:
        yield Finding("memory", OK, "Redis has memory left")
        return
    full = used >= most
    yield Finding(
        "memory",
        FAILURE if full else WARNING,
        f"{used / most:.0%} of Redis' memory is in use ({used / 2**20:.0f} of {most / 2**20:.0f} "
        f"MB): {'it refuses' if full else 'when it is full, it refuses'} tasks, and what we count",
        "see what takes it, delete that (results: result_expires), or take a larger plan:\n"
        'redis-cli -u "$REDIS_URL" --bigkeys',
    )


def connections_suffice(installation: Installation) -> Iterator[Finding]:
    """Whether Redis has connections for as many workers as may be hired."""
    most = int(installation.redis.info.get("maxclients", 0))
    used = int(installation.redis.info.get("connected_clients", 0))
    maximum = sum(pool.max_workers for pool in installation.settings.pools)
    needed = used + sum(
        max(pool["workers"]["max"] - len(pool["workers"]["live"]), 0)
        * _connections(installation, pool["name"])
        for pool in installation.status["pools"]
    )
    said = f"{used} of {most} connections are used; about {needed} with {maximum} workers"
    if most and needed > most:
        yield Finding(
            "connections",
            FAILURE,
            said,
            "take a plan with more connections, or lower middle_management_max_workers, or have "
            "workers need three each by worker_enable_remote_control=False, broker_pool_limit=1 "
            "and, in their command,\n--without-gossip --without-heartbeat",
        )
    else:
        yield Finding("connections", OK, said)


def _connections(installation: Installation, pool: str) -> int:
    """How many a worker of *pool* opens to the ledger's Redis; the most, if it is not known."""
    if not installation.in_ledgers_redis:
        return 1
    command = WorkerCommand()
    with suppress(PlatformError):  # which another check tells
        command = installation.platform.worker_commands.get(pool, command)
    remote = installation.conf.worker_enable_remote_control
    return (
        _LEAST
        + command.gossip * _FOR_GOSSIP
        + command.heartbeat * _FOR_HEARTBEAT
        + bool(remote) * _FOR_REMOTE_CONTROL
    )


def redis_is_new_enough(installation: Installation) -> Iterator[Finding]:
    """Whether Redis has what the scripts use."""
    version = str(installation.redis.info.get("redis_version", ""))
    if version.split(".", maxsplit=1)[0].isdecimal() and int(version.split(".", maxsplit=1)[0]) < 5:
        yield Finding(
            "redis-version",
            FAILURE,
            f"Redis is {version}, and cannot run what the ledger does",
            f"take Redis 5 or newer{installation.shell.heroku('redis:upgrade')}",
        )
    else:
        yield Finding("redis-version", OK, f"Redis is {version}")


def clocks_agree(installation: Installation) -> Iterator[Finding]:
    """Whether this machine's clock and that of Redis show about the same."""
    told: tuple[int, int] = installation.redis.client.time()
    apart = time.time() - (told[0] + told[1] / 1e6)
    if abs(apart) > _APART:
        yield Finding(
            "clocks",
            WARNING,
            f"this machine's clock is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} "
            "Redis': an ETA is then due as much too early or too late",
            "set both clocks by NTP:\nsudo timedatectl set-ntp true",
        )
    else:
        yield Finding("clocks", OK, "this machine's clock and Redis' agree")
