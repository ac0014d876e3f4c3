"""What a whole app tells of its hires and fires: messages to a webhook, and signals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from textwrap import dedent
from typing import Any

import pytest

from celery_middle_management.core import stuck
from celery_middle_management.views.status import status_of
from tests.integration.hook import OK, Hook
from tests.integration.office import Office, office
from tests.integration.stage import Stage, stage
from tests.servers import wait_for

PUBLISHER = """
    import sys
    work.delay()
    sys.stdin.read()
"""
#: At its end a process waits a little for messages; here, as long as they take.
PATIENTLY = "from celery_middle_management.reporting import side_work; side_work.LAST_WORK = 30.0"
SIGNALS = """
    import sys, time
    from celery_middle_management.signals import workers_hired
    @workers_hired.connect
    def fail(**_): raise ValueError("a receiver's own fault")
    @workers_hired.connect
    def tell(sender, pool, before, after, reason, dry_run, **_):
        print(sender.main, pool, before, after, dry_run, reason, sep=";", flush=True)
        if after == 1: time.sleep(3600)
    work.delay()
    for line in sys.stdin:
        work.delay()
"""


@pytest.fixture(name="hook")
def _hook() -> Iterator[Hook]:
    with Hook() as hook:
        yield hook


def history(on: Stage) -> list[dict[str, Any]]:
    entries: Any = on.redis.xrange("{middle-management:myapp}:actions")
    return [json.loads(fields["entry"]) for _, fields in entries]


def without_nulls(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in entry.items() if v is not None} for entry in entries]


# -- messages


@pytest.mark.parametrize(
    "patch",
    [
        "",
        *(
            pytest.param(it, marks=pytest.mark.slow)
            for it in ("gevent", "eventlet", "gevent, late")
        ),
    ],
)
def test_a_process_that_ends_after_its_hire_has_told_of_it(
    patch: str, redis_url: str, hook: Hook
) -> None:
    if patch:
        pytest.importorskip(patch.partition(",")[0])
    late = "from gevent import monkey; monkey.patch_all()\n" if "late" in patch else ""
    env = {} if late else {"PATCH": patch}
    with stage(redis_url, command=None, settings={"webhook": hook.url}) as on:
        on.script(f"{late}work.delay()\n{PATIENTLY}", **env)
        assert on.quantity == 1
        assert hook.texts() == [
            "myapp, pool worker: hired from 0 to 1 workers: "
            "1 task at 1 per worker needs 1, limits 0 to 5"
        ]
        assert hook.entries() == history(on)


@pytest.mark.slow
def test_a_process_ends_though_the_server_hangs(redis_url: str, hook: Hook) -> None:
    hook.behaviour = "hang"
    with stage(redis_url, command=None, settings={"webhook": hook.url}) as on:
        with on.program(f"import os\nos.dup2(1, 2)\n{dedent(PUBLISHER)}") as process:
            wait_for(lambda: len(hook.requests) == 1)
            said, _ = process.communicate(timeout=60)
        assert on.quantity == 1
        # It hired: nothing is said about workers that may not be hired.
        assert "before mm-messages has sent everything" in said
        assert "may not be hired" not in said
        # The next one sends what has happened since, and this message not again.
        hook.behaviour = OK
        on.script("app.start(['mm', 'pause'])")
        wait_for(lambda: len(hook.requests) == 2)
    assert [entry["action"] for entry in hook.entries()] == ["hire", "pause"]


def test_a_dry_run_says_what_it_would_do(redis_url: str, hook: Hook) -> None:
    given = {"webhook": hook.url, "dry_run": True}
    with stage(redis_url, command=None, settings=given) as on:
        on.publish("work.delay()")
        assert on.quantity == 0
        wait_for(lambda: len(hook.texts()) == 1)
    assert hook.texts()[0].startswith("myapp, pool worker: would hire from 0 to 1 workers: ")


def test_a_process_elsewhere_sends_nothing(redis_url: str, hook: Hook) -> None:
    with stage(redis_url, command=None, settings={"webhook": hook.url}) as on:
        off = {"MIDDLE_MANAGEMENT_OFF_PLATFORM": "false"}
        on.script("work.delay()\napp.start(['mm', 'pause'])", **off)
        assert [entry["action"] for entry in history(on)] == ["pause"]
        assert hook.connections == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_it_tells_of_everything_once(redis_url: str, hook: Hook) -> None:
    """Real workers, which evaluate too; each entry of the history arrives once."""
    given = {"webhook": hook.url, "call_interval": 1}
    with stage(redis_url, settings=given) as on, on.program(PUBLISHER), on.program(PUBLISHER):
        on.wait_until_finished(2)
        on.wait_for_quantity(0)
        on.script("app.start(['mm', 'pause', '--hires'])")
        on.script("app.start(['mm', 'resume'])")
        on.emulator.fault("status", status=503)
        on.script("work.delay()")
        wait_for(lambda: "trouble" in [entry["action"] for entry in history(on)], 60.0)
        on.emulator.clear_faults()
        on.wait_until_finished(3)
        on.wait_for_quantity(0)
        # The last fire is in the history a moment after the platform.
        told, written = [], [{}]

        def all_told() -> bool:
            nonlocal told, written
            told = sorted(hook.entries(), key=json.dumps)
            written = sorted(without_nulls(history(on)), key=json.dumps)
            return told == written

        wait_for(all_told, message=lambda: f"told {told}, written {written}")
    assert {"hire", "fire", "pause", "resume", "trouble", "trouble over"} <= {
        entry["action"] for entry in told
    }


# -- signals


@pytest.mark.slow
def test_a_signal_is_sent_where_the_hire_was_made(redis_url: str) -> None:
    """One receiver raises, and one hangs: the next hire is made all the same."""
    with (
        stage(redis_url, command=None, settings={"call_interval": 1}) as on,
        on.program(SIGNALS) as program,
    ):
        assert program.stdout is not None
        assert program.stdin is not None
        line = program.stdout.readline().strip()
        assert line.startswith("everyday;worker;0;1;False;1 task at 1 per worker needs 1")
        program.stdin.write("\n")
        program.stdin.flush()
        on.wait_for_quantity(2)
        program.stdin.close()
        # It ends, though a receiver hangs.
        program.wait(60)


# -- stuck at its maximum


@pytest.fixture(name="it")
def _it(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    monkeypatch.setattr(stuck, "STUCK_AFTER", 0.3)
    with office(redis_url, max_workers=1, call_interval=0.1, count_interval=0.2) as it:
        yield it


def actions(it: Office) -> list[str]:
    return [json.loads(entry)["action"] for entry in reversed(it.ledger.actions())]


def test_a_pool_that_needs_more_than_its_maximum_is_told_of_and_is_no_trouble(it: Office) -> None:
    it.publish(3)
    wait_for(lambda: "stuck at max" in actions(it) or it.scaler.evaluate(it.lease()))
    it.publish(1)
    it.scaler.evaluate(it.lease())
    assert actions(it) == ["hire", "stuck at max"]
    [told, _] = map(json.loads, it.ledger.actions())
    assert told["pool"] == "worker"
    assert (
        told["reason"]
        == "3 tasks at 1 per worker need 3, and max_workers is 1: 3 tasks waited at the last count"
    )
    assert status_of(it.settings, it.ledger.snapshot(), ("celery",))["trouble"] == []
    it.redis.delete("celery")
    it.publish(1)
    wait_for(lambda: "stuck at max over" in actions(it) or it.scaler.evaluate(it.lease()), 90.0)
