"""Each invariant holds when it should, and breaks when it should."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos import invariants
from tests.chaos.invariants import Story, Verdict
from tests.chaos.invariants.people import MANY
from tests.chaos.journal import Event, Journal, read

SETTINGS: Event = {
    "kind": "settings", "at": 0.0, "minimum": 0, "maxima": {"worker": 6, "pdf": 3}, "shared": False,
    "call_interval": 2.0, "visibility_timeout": 60.0, "types": ["worker", "pdf"],
    "jobs_per_worker": 4,
}  # fmt: skip
QUIET: Event = {"kind": "quiet", "at": 990.0, "last_end": 80.0, "reached": 85.0, "undone": {}}
ON_WORKER: Event = {"run": 0, "pid": 11, "sid": 10, "dyno": "worker.1"}


def event(kind: str, at: float, **facts: Any) -> Event:
    return {"kind": kind, "at": at, **facts}


def published(at: float = 1.0, task: str = "t", **facts: Any) -> Event:
    defaults = {
        "plain": False,
        "took": 0.001,
        "pid": 1,
        "what": "burst",
        "queue": "celery",
        "seconds": 1.0,
        "eta": 0.0,
    }
    return event("published", at, id=task, **{**defaults, **facts})


def begun(at: float, task: str = "t", **facts: Any) -> Event:
    return event("begun", at, id=task, **{**ON_WORKER, **facts})


def ended(at: float, task: str = "t", how: str = "done", **facts: Any) -> Event:
    return event("ended", at, id=task, how=how, **{**ON_WORKER, **facts})


def stopped(at: float, reason: str) -> list[Event]:
    stop = event("stop", at, asked_at=at - 1, id="d", name="worker.1", reason=reason,
                 sigkilled=False)  # fmt: skip
    return [event("dyno", 0.5, id="d", name="worker.1", pid=10), stop]


def asked(at: float, quantity: int | None = None, status: int | None = 200, met: str | None = None,
          done_at: float | None = None, **more: int) -> Event:  # fmt: skip
    quantities = {**({} if quantity is None else {"worker": quantity}), **more}
    updates = [{"type": pool, "quantity": q} for pool, q in quantities.items()]
    return event("request", at, method="PATCH", path="", body=json.dumps({"updates": updates}),
                 status=status, met=met, done_at=done_at or at)  # fmt: skip


def quiet(reached: float | None, last_end: float = 80.0) -> Event:
    return event("quiet", 300, last_end=last_end, reached=reached, undone={})


def limited(at: float, until: float, most: int = 3, pool: str | None = "worker") -> Event:
    return event("fault", at, until=until, what="limit", pool=pool, most=most)


def missing(at: float, until: float, pool: str = "pdf") -> Event:
    return event("fault", at, until=until, what="missing", pool=pool)


def probe(app: str, tasks: int, second: int = 0) -> Event:
    return event("probe", 120, began=100, until=112, app=app, tasks=tasks, second=second)


def changed(at: float, before: int, after: int, by: str = "api") -> Event:
    return event("change", at, pool="worker", before=before, after=after, by=by)


def killed(at: float, what: str = "worker", pid: int = 10) -> Event:
    return event("killed", at, what=what, pid=pid, sid=10)


def fault(at: float, until: float, what: str) -> Event:
    return event("fault", at, until=until, what=what)


UNREACHABLE = "kombu.exceptions.OperationalError: no"
STUMBLE = "builtins.AttributeError: 'NoneType' object has no attribute 'x'"


def raised_in(*files: str, error: str = STUMBLE, name: str = "f") -> Event:
    trace = "\n".join(f'File "/lib/{file}", line 1, in {name}' for file in files)
    return event("raised", 2, until=4, plain=False, error=error, traceback=trace)


def person(
    at: float, action: str = "hire", outcome: str = "done", lasts: float | None = 30.0, **facts: Any
) -> Event:
    defaults = {"who": "ann", "said": "", "by": "function", "hires": True, "fires": True}
    return event("asked", at, until=at + 1, action=action, outcome=outcome, lasts=lasts,
                 **{**defaults, **facts})  # fmt: skip


def entry(at: float, action: str = "ask to hire", to: int | None = 3, **facts: Any) -> Event:
    return event("entry", at, by="ann", pool="worker", action=action, to=to, place="1", **facts)


def lost(at: float, sort: str = "flush") -> Event:
    return event("fault", at, until=at + 0.1, what="ledger", sort=sort)


HELD: list[tuple[Callable[[Story], Verdict], list[Event]]] = [
    (invariants.nothing_killed, [begun(2), ended(3), *stopped(5, "scale")]),
    (invariants.nothing_killed, [begun(2), *stopped(5, "restart")]),
    (invariants.nothing_killed, [begun(2), killed(3), *stopped(5, "scale")]),
    (invariants.nothing_lost, [published(), ended(3)]),
    (invariants.nothing_lost, [published(), event("purged", 2, ids=["t"])]),
    (invariants.nothing_lost, [published(), event("revoked", 2, id="t")]),
    (invariants.nothing_lost, [published(plain=True)]),
    (invariants.nothing_lost, [published(early=True), begun(2), killed(3)]),
    (invariants.nothing_twice, [begun(2), killed(3), begun(9, sid=20, pid=21)]),
    (invariants.nothing_twice, [begun(2), ended(3, how="retry"), begun(4, run=1)]),
    (invariants.nothing_twice, [begun(2), fault(3, 4, "broker"), begun(9, sid=20, pid=21)]),
    (invariants.nothing_twice, [published(1, took=0.5), fault(1.2, 1.4, "broker"), begun(9),
                                begun(9.1, sid=20, pid=21)]),
    (invariants.within_limits, [changed(1, 0, 6), changed(2, 6, 8, by="hand")]),
    (invariants.calls_spaced, [asked(1, 3), asked(3.1, 4)]),
    (invariants.calls_spaced, [asked(1, 0), changed(1, 3, 0), asked(1.5, 2)]),
    (invariants.calls_spaced, [fault(0.5, 1.2, "api"), asked(1, 3), asked(1.4, 3)]),
    (invariants.calls_spaced, [fault(0.5, 1.2, "late"), asked(1, 3, 503), asked(1.4, 3)]),
    (invariants.calls_spaced, [changed(0.5, 0, 2), asked(1, 4, 422, pdf=2), asked(1.1, pdf=2),
                               asked(1.2, 4, 422)]),
    (invariants.calls_spaced, [changed(0.5, 0, 2), asked(1, 3), fault(1.5, 1.6, "clock"),
                               asked(2, 4)]),
    (invariants.back_at_minimum, [quiet(165.0)]),
    (invariants.back_at_minimum, [asked(75, 0, None, "later_hang", 120), quiet(220.0)]),
    (invariants.refusals_alone, [limited(0, 50), asked(1, 4, 422, pdf=2), asked(1.1, pdf=2),
                                 asked(1.2, 4, 422), asked(62, 4, 422)]),
    (invariants.refusals_alone, [missing(0, 50), asked(1, 4, 404, pdf=2), asked(1.1, 4)]),
    (invariants.refusals_alone, [limited(0, 50), asked(1, 4, 422, pdf=2), killed(2)]),
    (invariants.refusals_alone, [asked(1, 4, 404, ghost=1), asked(1.1, 4)]),
    (invariants.refusals_alone, [limited(0, 50, pool=None), asked(1, 4, 422, pdf=2)]),
    (invariants.others_apart, [probe("foreign", 40), changed(90, 0, 3), changed(101, 3, 2)]),
    (invariants.others_apart, [probe("twin", 11), changed(101, 0, 3)]),
    (invariants.others_apart, [asked(50, 6, None, "hang"), probe("twin", 11), changed(101, 0, 6)]),
    (invariants.others_apart, [probe("second", 5, second=2)]),
    (invariants.nothing_raised, [
        fault(1, 3, "broker"), raised_in("celery/x.py", "amqp/x.py", error=UNREACHABLE),
    ]),
    # It puts the mark in, and is in every trace.
    (invariants.nothing_raised, [
        fault(1, 3, "broker"),
        raised_in("celery_middle_management/counting/marks.py", "kombu/x.py", error=UNREACHABLE,
                  name="send_task_message"),
    ]),
    (invariants.suite_sound, [changed(1, 0, 2), changed(9, 2, 0)]),
    (invariants.scaler_replaced, [event("replaced", 20, killed_at=5, took=12.4)]),
    (invariants.scaler_replaced, [
        fault(4, 40, "line"), event("replaced", 30, killed_at=5, took=16.7),
    ]),
    (invariants.keys_bounded, [
        event("key", 99, name="{middle-management:myapp}:workers", size=3, ttl=60, live=3),
    ]),
    (invariants.never_slower, [
        fault(0, 50, "ledger"), published(1, "a", took=0.9), published(1.91, "x", took=0.9),
        published(3, "b"), published(3, "c", plain=True, pid=2),
        published(5, "d", plain=True, pid=2),
    ]),
    (invariants.nothing_raised, [fault(1, 4, "broker"), raised_in("celery/x.py", "kombu/x.py")]),
    (invariants.requests_recorded, [person(1), entry(1.5)]),
    (invariants.requests_recorded, [person(1), lost(2)]),
    (invariants.requests_recorded, [person(1, outcome="unknown"), entry(9)]),
    (invariants.requests_recorded, [person(1, outcome="unknown")]),
    (invariants.requests_recorded, [person(1, outcome="not done")]),
    (invariants.requests_recorded, [person(1, outcome="failed")]),
    (invariants.pauses_kept, [person(1, "pause", lasts=60.0), asked(5, 3)]),
    (invariants.pauses_kept, [person(1, "pause", lasts=60.0), asked(62, 3)]),
    (invariants.pauses_kept, [person(1, "pause", lasts=60.0, outcome="failed"), asked(30, 3)]),
    (invariants.pauses_kept, [person(1, "pause", lasts=60.0, hires=False), asked(30, 3)]),
    (invariants.pauses_kept, [person(1, "pause", lasts=None), person(20, "resume"), asked(30, 3)]),
    (invariants.pauses_kept, [person(1, "pause", lasts=None), lost(20), asked(30, 3)]),
    (invariants.pauses_kept, [person(1, "pause", lasts=60.0, hires=False), changed(20, 0, 5),
                              changed(25, 5, 2, by="late"), asked(30, 3)]),
    (invariants.back_at_minimum, [person(60, lasts=200.0), quiet(330)]),
    (invariants.back_at_minimum, [person(60, lasts=200.0, outcome="unknown"), quiet(330)]),
    (invariants.back_at_minimum, [person(60, "pause", lasts=200.0, hires=False), quiet(330)]),
]  # fmt: skip

BROKEN: list[tuple[Callable[[Story], Verdict], list[Event]]] = [
    (invariants.nothing_killed, [begun(2), *stopped(5, "scale")]),
    (invariants.nothing_killed, [begun(2), ended(4, how="aborted: SystemExit"),
                                 *stopped(5, "scale")]),
    (invariants.nothing_lost, [published(), begun(2)]),
    (invariants.nothing_lost, [published(), begun(2), killed(3)]),
    (invariants.nothing_lost, [published(early=True), begun(2), *stopped(5, "scale")]),
    (invariants.nothing_twice, [begun(2), ended(3), begun(9, sid=20, pid=21)]),
    (invariants.nothing_twice, [published(1), fault(1.2, 1.4, "broker"), begun(9),
                                begun(9.1, sid=20, pid=21)]),
    (invariants.nothing_twice, [begun(2), *stopped(5, "scale"), begun(9, sid=20, pid=21)]),
    (invariants.within_limits, [changed(1, 0, 7)]),
    (invariants.within_limits, [asked(1, 7)]),
    (invariants.calls_spaced, [changed(0.5, 0, 2), asked(1, 3), asked(2, 4)]),
    (invariants.calls_spaced, [changed(0.5, 0, 2), asked(1, 4, 422, pdf=2), asked(1.1, 3, pdf=2),
                               asked(1.2, 3, ghost=1)]),
    (invariants.calls_spaced, [changed(0.5, 0, 2), asked(1, pdf=2, status=422), asked(1.1, 3)]),
    (invariants.back_at_minimum, [quiet(None)]),
    (invariants.back_at_minimum, [quiet(171.0)]),
    # A refusal is an answer, and so is one that came late but in time.
    (invariants.back_at_minimum, [asked(75, 0, 429, "status"), quiet(220.0)]),
    (invariants.back_at_minimum, [asked(75, 0, None, "later_hang", 120), quiet(226.0)]),
    # A worker fired by a write that was carried out late is no exception.
    (invariants.nothing_killed, [asked(1, 0, None, "later_hang", 3.9), begun(2),
                                 *stopped(5, "scale")]),
    # Nor is a worker that could not reach the ledger.
    (invariants.nothing_killed, [fault(1, 9, "line"), begun(2), *stopped(5, "scale")]),
    (invariants.refusals_alone, [limited(0, 50), asked(1, 4, 422, pdf=2)]),
    (invariants.refusals_alone, [missing(0, 50), asked(1, 4, 404, pdf=2), asked(3, 4, 404, pdf=2)]),
    (invariants.refusals_alone, [asked(1, 4, 404, ghost=1)]),
    (invariants.refusals_alone, [limited(0, 50), *(asked(n * 2.0, 4, 422) for n in range(7))]),
    (invariants.others_apart, [probe("foreign", 40), changed(101, 0, 3)]),
    (invariants.others_apart, [probe("twin", 11), changed(101, 0, 6)]),
    (invariants.others_apart, [asked(5, 6, None, "hang"), probe("twin", 11), changed(101, 0, 6)]),
    (invariants.others_apart, [asked(50, 6, None, "hang"), probe("foreign", 40),
                               changed(101, 0, 6)]),
    (invariants.others_apart, [probe("second", 5, second=2), changed(101, 0, 2)]),
    (invariants.others_apart, [probe("second", 5, second=0)]),
    (invariants.others_apart, [probe("foreign", 5, second=2)]),
    (invariants.nothing_raised, [
        raised_in("kombu/x.py", error="redis.exceptions.ConnectionError: no"),
    ]),
    (invariants.nothing_raised, [fault(1, 4, "ledger"), raised_in("kombu/x.py")]),
    (invariants.nothing_raised, [
        fault(1, 4, "broker"), raised_in("kombu/x.py", error="kombu.exceptions.EncodeError: no"),
    ]),
    (invariants.nothing_raised, [
        fault(1, 4, "broker"), raised_in("kombu/x.py", error="builtins.TypeError: no"),
    ]),
    (invariants.nothing_raised, [
        fault(1, 4, "broker"),
        raised_in("celery_middle_management/x.py", "redis/x.py", error=UNREACHABLE),
    ]),
    (invariants.nothing_raised, [
        fault(1, 4, "broker"),
        raised_in("celery_middle_management/counting/marks.py", "kombu/x.py", error=UNREACHABLE),
    ]),
    (invariants.nothing_raised, [raised_in("kombu/x.py")]),
    (invariants.nothing_raised, [fault(1, 4, "broker"), raised_in("celery/x.py")]),
    (invariants.nothing_raised, [
        fault(1, 4, "broker"), raised_in("celery_middle_management/x.py", "kombu/x.py"),
    ]),
    (invariants.nothing_failed, [
        event("failure", 99, where="worker.1", message="an evaluation failed", error="E: e"),
    ]),
    # If no worker is hired, or none is fired, nothing is proved.
    (invariants.suite_sound, [changed(1, 0, 2, by="hand"), changed(9, 2, 0)]),
    (invariants.suite_sound, [changed(1, 0, 2), changed(9, 2, 0, by="hand")]),
    (invariants.suite_sound, [event("broken", 9, act="pause", error="E: e")]),
    (invariants.scaler_replaced, [event("replaced", 20, killed_at=5, took=None)]),
    (invariants.scaler_replaced, [event("replaced", 30, killed_at=5, took=15.5)]),
    (invariants.scaler_replaced, [
        fault(1, 4, "line"), event("replaced", 40, killed_at=5, took=24.5),
    ]),
    (invariants.keys_bounded, [
        event("key", 99, name="{middle-management:myapp}:workers", size=3, ttl=-1, live=3),
    ]),
    (invariants.keys_bounded, [event("key", 99, name="other", size=1, ttl=9, live=3)]),
    (invariants.never_slower, [
        fault(0, 50, "ledger"), published(1, "a"), published(3, "b", took=0.06),
        published(3, "c", plain=True, pid=2), published(5, "d", plain=True, pid=2),
    ]),
    (invariants.requests_recorded, [person(1)]),
    (invariants.requests_recorded, [person(1), lost(2, "pause")]),
    (invariants.requests_recorded, [person(1), entry(1.5), entry(1.6)]),
    (invariants.requests_recorded, [entry(1.5), entry(1.6)]),
    (invariants.requests_recorded, [person(1, outcome="unknown"), entry(9), entry(9)]),
    (invariants.requests_recorded, [person(1, outcome="not done"), entry(1.5)]),
    (invariants.requests_recorded, [person(1, outcome="failed"), entry(1.5)]),
    (invariants.requests_recorded, [person(1, outcome="broken")]),
    (invariants.requests_recorded, [person(1), entry(1.5, to=7)]),
    (invariants.pauses_kept, [person(1, "pause", lasts=60.0), asked(30, 3)]),
    (invariants.pauses_kept, [person(1, "pause", lasts=None), asked(300, 3)]),
    (invariants.pauses_kept, [person(1, "pause", lasts=60.0, hires=False), changed(2, 0, 5),
                              asked(30, 3)]),
    (invariants.pauses_kept, [person(1, "pause", lasts=60.0, fires=False),
                              event("request", 30, method="POST", path="/apps/a/dynos")]),
    (invariants.back_at_minimum, [person(60, lasts=200.0), quiet(360)]),
    (invariants.back_at_minimum, [person(60, lasts=200.0, outcome="not done"), quiet(330)]),
    (invariants.back_at_minimum, [person(60, lasts=200.0, outcome="failed"), quiet(330)]),
    (invariants.back_at_minimum, [person(60, "fire", lasts=200.0), quiet(330)]),
    (invariants.back_at_minimum, [person(60, "pause", lasts=200.0, fires=False), quiet(330)]),
    (invariants.back_at_minimum, [person(60, lasts=200.0), person(61, "resume"), quiet(330)]),
]  # fmt: skip


@pytest.mark.parametrize(("check", "events"), HELD)
def test_held(check: Callable[[Story], Verdict], events: list[Event]) -> None:
    assert check(Story([SETTINGS, *events, QUIET])).broken == []


@pytest.mark.parametrize(("check", "events"), BROKEN)
def test_broken(check: Callable[[Story], Verdict], events: list[Event]) -> None:
    assert check(Story([SETTINGS, *events, QUIET])).broken != []


def test_where_people_take_part_some_request_is_done() -> None:
    settings = {**SETTINGS, "people": True}
    assert not invariants.requests_recorded(Story([settings, QUIET])).held
    assert invariants.requests_recorded(Story([settings, person(1), entry(1.5), QUIET])).held


@pytest.mark.parametrize(("lasts", "held"), [(60.0, True), (10.0, False)])
def test_of_many_pauses_some_is_judged(lasts: float, held: bool) -> None:
    pauses = [person(100 * n, "pause", lasts=lasts) for n in range(MANY)]
    assert invariants.pauses_kept(Story([SETTINGS, *pauses, QUIET])).held is held
    assert invariants.pauses_kept(Story([SETTINGS, *pauses[1:], QUIET])).held


def test_only_a_task_nowhere_in_the_broker_can_be_lost_by_kombu() -> None:
    def judged(where: str) -> bool:
        quiet = {**QUIET, "undone": {"t": where}}
        return invariants.nothing_lost(Story([SETTINGS, published(), killed(2), quiet])).held

    assert judged("nowhere")
    assert not judged("taken")


def test_a_retry_is_lost_by_kombu_where_the_broker_was_disturbed_just_then() -> None:
    nowhere = {**QUIET, "undone": {"t": "nowhere"}}
    retried = [published(), begun(2), ended(3, how="retry"), nowhere]
    assert not invariants.nothing_lost(Story([SETTINGS, *retried])).held
    for at, held in ((3.2, True), (9.0, False)):
        told = [SETTINGS, *retried, fault(at, at + 0.1, "broker")]
        assert invariants.nothing_lost(Story(told)).held is held


def test_a_task_lost_by_kombu_was_taken_when_its_own_queue_came_to_it() -> None:
    def taken(at: float, task: str, queue: str, when: float) -> list[Event]:
        return [published(at, task, queue=queue), event("received", when, id=task, **ON_WORKER)]

    def judged(restarted: float) -> bool:
        others = [
            *taken(1, "a", "celery", 20), *taken(9, "b", "celery", 22),
            *taken(1, "c", "pdf", 50), *taken(9, "d", "pdf", 51),
        ]  # fmt: skip
        lost = published(5, queue="celery")
        restart = fault(restarted, restarted + 0.5, "broker")
        quiet = {**QUIET, "undone": {"t": "nowhere"}}
        ended_ = [ended(60, task) for task in "abcd"]
        story = Story([SETTINGS, *others, lost, restart, *ended_, quiet])
        return invariants.nothing_lost(story).held

    assert judged(21)
    assert not judged(50)


@pytest.mark.parametrize(("publishes", "held"), [(50, True), (150, False)])
def test_a_percentile_of_few_publishes_is_no_more_than_their_maximum(
    publishes: int, held: bool
) -> None:
    """Two of ours are as slow as the plain Celery publish that the trouble did not hit."""

    def some(pid: int, plain: bool) -> list[Event]:
        slow = 0 if plain else 2
        return [published(0, f"{pid}", plain=plain, pid=pid, took=0.01)] + [
            published(
                2 + n / 100, f"{pid}-{n}", plain=plain, pid=pid, took=0.3 if n < slow else 0.01
            )
            for n in range(publishes)
        ]

    story = [SETTINGS, fault(0, 50, "ledger"), *some(1, False), *some(2, True), QUIET,
             published(60, "first", plain=True, pid=3), published(62, "x", plain=True, pid=3,
             took=0.4)]  # fmt: skip
    assert invariants.never_slower(Story(story)).held is held


def test_a_journal_is_read_as_it_was_written(tmp_path: Any) -> None:
    journal = Journal(tmp_path / "journal")
    journal.write("second", at=2.0, fact="one")
    journal.write("first", at=1.0)

    assert [e["kind"] for e in read(tmp_path / "journal")] == ["first", "second"]


ONE_OFF: Event = {**SETTINGS, "dynos": "one-off"}
DYNO = event("dyno", 0.5, id="d", name="run.1", pid=10)
GONE = event("gone", 9, id="d", name="run.1", pid=10)


def order(method: str, path: str) -> Event:
    return event("request", 5, method=method, path=path, body="{}", status=200, met=None, done_at=5)


@pytest.mark.parametrize(
    ("invariant", "events", "held"),
    [
        (invariants.no_worker_stopped, [order("POST", "/apps/a/dynos")], True),
        (invariants.no_worker_stopped, [order("POST", "/apps/a/dynos/d/actions/stop")], True),
        (invariants.no_worker_stopped, [order("PATCH", "/apps/a/formation")], False),
        (invariants.no_worker_stopped, [order("DELETE", "/apps/a/dynos/d")], False),
        (invariants.no_worker_stopped, [order("POST", "/apps/a/formations/w/actions/stop")], False),
        (invariants.nothing_killed, [DYNO, begun(2), ended(3), GONE], True),
        (invariants.nothing_killed, [DYNO, begun(2), killed(3), GONE], True),
        (invariants.nothing_killed, [DYNO, begun(2), GONE], False),
        (invariants.nothing_killed, [DYNO, begun(-9), ended(-8, how="aborted: x"), GONE], True),
        (invariants.nothing_killed, [DYNO, begun(2), ended(8, how="aborted: x"), GONE], False),
        (invariants.within_limits, [event("crowd", 3, pool="worker", quantity=6)], True),
        (invariants.within_limits, [event("crowd", 3, pool="worker", quantity=7)], False),
        (invariants.suite_sound, [DYNO, GONE], True),
        (invariants.suite_sound, [DYNO], False),
    ],
)
def test_one_off_dynos_are_judged(
    invariant: Callable[[Story], Verdict], events: list[Event], held: bool
) -> None:
    assert invariant(Story([ONE_OFF, *events, QUIET])).held is held
