"""All checks, in the order in which their findings are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import redis

from celery_middle_management.doctor import (
    deploy_checks,
    ledger_checks,
    platform_checks,
    queue_checks,
    settings_checks,
    worker_checks,
)
from celery_middle_management.doctor.finding import FAILURE, Finding
from celery_middle_management.doctor.installation import Installation
from celery_middle_management.platforms import PlatformError

CHECKS: tuple[Callable[[Installation], Iterator[Finding]], ...] = (
    ledger_checks.redis_answers,
    ledger_checks.redis_is_new_enough,
    ledger_checks.redis_evicts_nothing,
    ledger_checks.redis_has_room,
    ledger_checks.connections_suffice,
    ledger_checks.clocks_agree,
    settings_checks.workers_are_changed_from_here,
    platform_checks.heroku_answers,
    platform_checks.key_may_scale,
    platform_checks.process_types_exist,
    platform_checks.dynos_can_be_many,
    worker_checks.pools_run_workers,
    platform_checks.we_alone_scale,
    settings_checks.tasks_are_published,
    settings_checks.changes_are_made,
    settings_checks.nothing_is_paused,
    settings_checks.draining_has_no_end,
    settings_checks.webhook_answers,
    settings_checks.nothing_goes_wrong,
    queue_checks.queues_can_be_counted,
    queue_checks.queues_are_served,
    queue_checks.workers_consume_their_queues,
    queue_checks.publishers_have_the_package,
    queue_checks.redeliveries_wait_for_etas,
    worker_checks.minimum_is_kept,
    worker_checks.pools_are_woken,
    worker_checks.beat_stays,
    worker_checks.processes_agree,
    worker_checks.workers_are_of_a_pool,
    deploy_checks.sigterm_is_warm,
    deploy_checks.long_tasks_survive_deploys,
    worker_checks.processes_are_fixed,
    worker_checks.prefetch_is_bounded,
    worker_checks.nothing_is_purged,
    worker_checks.versions_are_sound,
)


def examine(installation: Installation) -> Iterator[Finding]:
    """Yield the findings of every check. An error of Redis or the platform is itself a finding.

    After the first failure of either, the checks that need it are skipped.
    """
    for check in CHECKS:
        reported = (installation.redis.failure, installation.platform.failure)
        try:
            yield from list(check(installation))
        except (redis.RedisError, OSError, PlatformError) as error:
            if error in reported:
                continue
            if not isinstance(error, PlatformError):
                installation.redis.failure = error
            mend = "run this again, and act on the message if it stays:\n"
            mend += f"{installation.shell.celery} mm doctor"
            yield Finding(check.__name__.replace("_", "-"), FAILURE, str(error), mend)
