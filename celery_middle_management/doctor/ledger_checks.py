"""Checks of the ledger's Redis: is it up, large enough and set up right?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

import redis

from celery_middle_management.doctor.command import WorkerCommand
from celery_middle_management.doctor.finding import FAILURE, OK, WARNING, Finding
from celery_middle_management.doctor.installation import Installation
from celery_middle_management.platforms import PlatformError
from celery_middle_management.views.remedies import no_such_database

#: Connections that a worker opens to a Redis broker, counted with Celery 5.7: the minimum, which
#: includes ours, and the additional ones of each service that can be switched off.
_LEAST, _FOR_GOSSIP, _FOR_HEARTBEAT, _FOR_REMOTE_CONTROL = 3, 4, 2, 2
#: How far this process's clock and Redis' may differ (s).
_APART = 5.0
#: Redis is nearly full when this share of its memory is in use.
_NEARLY_FULL = 0.9


def redis_answers(installation: Installation) -> Iterator[Finding]:
    """Check that Redis can be reached and runs the ledger's commands."""
    try:
        installation.redis.ledger.probe()
    except (redis.RedisError, OSError) as error:
        installation.redis.failure = error
        what, mend = _refusal(installation, error)
        yield Finding("redis", FAILURE, what, mend)
    else:
        yield Finding("redis", OK, "Redis answers, and lets the ledger in")


def _refusal(installation: Installation, error: Exception) -> tuple[str, str]:
    """Describe the failed probe, and the remedy."""
    if mend := no_such_database(error):
        return f"the database of the ledger does not exist: {error}", mend
    if isinstance(error, redis.exceptions.NoPermissionError):
        return (
            f"Redis does not allow what the ledger needs: {error}",
            "allow its user the ledger's keys and the commands of its scripts:\n"
            "ACL SETUSER name ~{middle-management:*}:* +@all -@dangerous +info",
        )
    if isinstance(error, redis.ResponseError):
        return (
            f"Redis cannot run the ledger's commands: {error}",
            "check whether middle_management_redis_url names the right database, and which other "
            "program writes keys that begin like this:\n"
            "redis-cli -u \"$REDIS_URL\" --scan --pattern '{middle-management:*'",
        )
    return (
        f"Redis cannot be reached: {error}",
        "check middle_management_redis_url, or the broker's address, and that this process may "
        f"connect to it{installation.shell.heroku('config')}",
    )


def redis_evicts_nothing(installation: Installation) -> Iterator[Finding]:
    """Check that Redis keeps its keys when its memory is full."""
    policy = str(installation.redis.info.get("maxmemory_policy", "noeviction"))
    if policy == "noeviction":
        yield Finding("eviction", OK, "Redis evicts no keys")
    else:
        yield Finding(
            "eviction",
            FAILURE,
            f"when its memory is full, Redis evicts keys (maxmemory-policy {policy}): the "
            "ledger's, and tasks if it is the broker",
            "set the policy to noeviction, with your provider's command or Redis' own:"
            f"{installation.shell.heroku('redis:maxmemory --policy noeviction')}\n"
            'redis-cli -u "$REDIS_URL" CONFIG SET maxmemory-policy noeviction',
        )


def redis_has_room(installation: Installation) -> Iterator[Finding]:
    """Check that Redis, which should evict nothing, has memory left."""
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
        f"MB). {'It refuses' if full else 'When it is full, it refuses'} tasks and the ledger's "
        "writes",
        "find the largest keys and delete what you do not need (results: result_expires), or take "
        'a larger plan:\nredis-cli -u "$REDIS_URL" --bigkeys',
    )


def connections_suffice(installation: Installation) -> Iterator[Finding]:
    """Check that Redis has enough connections for all workers that may be hired."""
    most = int(installation.redis.info.get("maxclients", 0))
    used = int(installation.redis.info.get("connected_clients", 0))
    most_of = {pool.name: pool.widest.max_workers for pool in installation.settings.pools}
    maximum = sum(most_of.values())
    needed = used + sum(
        max(most_of[pool["name"]] - len(pool["workers"]["live"]), 0)
        * _connections(installation, pool["name"])
        for pool in installation.status["pools"]
    )
    what = (
        f"{used} of {most} connections are in use; with {maximum} workers, about {needed} would be"
    )
    if most and needed > most:
        yield Finding(
            "connections",
            FAILURE,
            what,
            "take a plan with more connections, lower middle_management_max_workers, or reduce "
            "each worker to three connections with "
            "app.conf.update(worker_enable_remote_control=False, broker_pool_limit=1) and, in its "
            "command,\n--without-gossip --without-heartbeat",
        )
    else:
        yield Finding("connections", OK, what)


def _connections(installation: Installation, pool: str) -> int:
    """How many connections a worker of *pool* opens to the ledger's Redis (an upper bound)."""
    if not installation.in_ledgers_redis:
        return 1
    command = WorkerCommand()
    with suppress(PlatformError):  # another check reports it
        command = installation.platform.worker_commands.get(pool, command)
    remote = installation.conf.worker_enable_remote_control
    return (
        _LEAST
        + command.gossip * _FOR_GOSSIP
        + command.heartbeat * _FOR_HEARTBEAT
        + bool(remote) * _FOR_REMOTE_CONTROL
    )


def redis_is_new_enough(installation: Installation) -> Iterator[Finding]:
    """Check that Redis has the commands that the ledger's scripts use."""
    version = str(installation.redis.info.get("redis_version", ""))
    if version.split(".", maxsplit=1)[0].isdecimal() and int(version.split(".", maxsplit=1)[0]) < 5:
        yield Finding(
            "redis-version",
            FAILURE,
            f"Redis is {version}, which is too old for the ledger",
            f"upgrade to Redis 5 or newer{installation.shell.heroku('redis:upgrade')}",
        )
    else:
        yield Finding("redis-version", OK, f"Redis is {version}")


def clocks_agree(installation: Installation) -> Iterator[Finding]:
    """Check that this machine's clock and Redis' show about the same time."""
    theirs: tuple[int, int] = installation.redis.client.time()
    apart = time.time() - (theirs[0] + theirs[1] / 1e6)
    if abs(apart) > _APART:
        yield Finding(
            "clocks",
            WARNING,
            f"this machine's clock is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} "
            "Redis': tasks with an ETA start that much too early or too late",
            "synchronize both clocks by NTP:\nsudo timedatectl set-ntp true",
        )
    else:
        yield Finding("clocks", OK, "this machine's clock and Redis' agree")
