"""The rules for times that depend on each other."""

from __future__ import annotations

from celery_middle_management.core import timing
from celery_middle_management.core.traits import DOTTED
from celery_middle_management.platforms import heroku_http
from celery_middle_management.working.worker import INTERVAL


def test_a_dead_holder_of_the_lock_is_replaced_in_time() -> None:
    assert timing.STAND_BY + timing.WATCHES <= timing.LOCK_SECONDS


def test_a_worker_that_reports_is_not_silent() -> None:
    assert 2 * INTERVAL < timing.WATCHES < timing.SILENT


def test_a_worker_without_an_answer_waits_until_nothing_can_stop_it_unseen() -> None:
    """The longest that a change can take effect after it was announced."""
    assert DOTTED.waits_for_ledger >= timing.LOCK_SECONDS + DOTTED.takes_effect_within


def test_a_cordon_outlasts_the_loss_of_the_ledger_until_another_evaluates() -> None:
    assert timing.KEEPS_CORDON > timing.LOCK_SECONDS + timing.WATCHES


def test_what_is_about_to_begin_begins_after_a_fire_that_was_sent_before() -> None:
    assert DOTTED.imminent >= DOTTED.kills_after + timing.LOCK_SECONDS


def test_a_dead_worker_is_not_taken_for_gone_while_its_process_may_live() -> None:
    assert DOTTED.surely_killed >= DOTTED.kills_after + DOTTED.stops_within


def test_a_publisher_has_told_of_what_a_worker_has_held_for_long() -> None:
    assert timing.ZERO_HOLD < timing.LONGEST_HOLD < timing.RECENT


def test_a_request_is_given_up_before_its_lease_ends() -> None:
    assert heroku_http.WRITE_TIMEOUT < timing.LOCK_SECONDS - timing.LOCK_MARGIN
