"""Properties that every decision has, in any situation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.decision import EarlierCalls, Situation, decide
from celery_middle_management.core.fleet import Fleet
from celery_middle_management.core.presence import Presence

from ..pools import NOW, obey, settle

MOST = 6
ORDERED = [f"worker.{n}" for n in range(1, MOST + 2)]
UNORDERED = [f"worker-{letter * 5}-{letter * 5}" for letter in "abcdefg"]
ages = st.sampled_from([0.0, 1.0, 4.9, 5.1, 39.0, 41.0, 61.0, 400.0])
moments = ages.map(lambda age: NOW - age)
#: Nothing forbids a call.
FREE = {"fresh": True, "may_call": True, "blocked": False, "earlier": EarlierCalls()}


def presences(names: list[str], cordon: Cordon) -> st.SearchStrategy[tuple[Presence, ...]]:
    """Workers of these names; many of them are cordoned and idle."""
    presence = st.builds(
        Presence,
        id=st.integers(0, 10**9).map(str),
        name=st.sampled_from(names),
        pool=st.just("worker"),
        since=moments,
        seen=st.just(NOW) | moments,
        stopped=st.sampled_from([cordon.at, 0.0, NOW - 77]),
        closing=st.booleans(),
        busy=st.sampled_from([0, 0, 1]),
    )
    return st.lists(presence, max_size=MOST).map(tuple)


@st.composite
def views(draw: st.DrawFn, names: list[str] | None = None, **known: Any) -> Situation:
    """Any situation of a pool, and many that can hardly be."""
    names = draw(st.sampled_from([ORDERED, UNORDERED])) if names is None else names
    cordon = draw(
        st.just(Cordon())
        | st.builds(
            Cordon,
            st.none() | st.integers(0, MOST),
            st.frozensets(st.sampled_from(names), max_size=3 if names is UNORDERED else 0),
            moments,
            st.dictionaries(st.sampled_from(names), moments),
        )
    )
    numbers = st.integers(0, MOST)
    minimum, maximum = sorted((draw(numbers), draw(numbers)))
    quantity = draw(numbers)
    below = st.none() | st.integers(0, MOST)
    values = {
        "minimum": minimum,
        "maximum": maximum,
        "quantity": quantity,
        "needed": draw(st.integers(minimum, maximum)),
        "fleet": Fleet(
            pool="worker",
            now=NOW,
            presences=draw(presences(names, cordon)),
            quantity=quantity,
            running=draw(st.none() | st.frozensets(st.sampled_from(names))),
            missed=draw(st.frozensets(st.sampled_from(names), max_size=2)),
        ),
        "cordon": cordon,
        "fresh": draw(st.booleans()),
        "may_call": draw(st.booleans()),
        "blocked": draw(st.booleans()),
        "earlier": draw(st.builds(EarlierCalls, below, below, below, below)),
        "drain_timeout": draw(st.none() | st.sampled_from([10.0, 50.0])),
    }
    return Situation(**values | known)


@given(views())
def test_the_quantity_is_within_limits(view: Situation) -> None:
    quantity = decide(view).quantity
    assert quantity is None or view.minimum <= quantity <= view.maximum
    assert quantity != view.quantity


@given(views(**FREE), st.data())
def test_no_worker_is_fired_that_is_not_drained(view: Situation, data: st.DataObject) -> None:
    if not view.fleet.unordered or data.draw(st.booleans()):
        above = 0 if view.fleet.unordered else view.needed
        view = replace(view, cordon=replace(view.cordon, above=above, names=frozenset()))
    decision = decide(view)
    if decision.quantity is None or decision.quantity > view.quantity:
        return
    if view.fleet.unordered:
        assert all(p.busy == 0 and not p.silent(NOW) for p in view.fleet.living)
        assert all(view.cordon.holds(p.name) for p in view.fleet.living)
        assert all(p.closing or p.stopped == view.cordon.at for p in view.fleet.living)
        return
    for number in range(decision.quantity + 1, view.quantity + 1):
        name = f"worker.{number}"
        waited = NOW - view.cordon.since.get(name, NOW)
        late = view.drain_timeout is not None and waited >= view.drain_timeout
        assert view.fleet.drained(name, view.cordon) or late
        assert view.cordon.holds(name), "it was cordoned before"


@given(views(fresh=False))
def test_nothing_is_fired_on_anything_but_a_fresh_count(view: Situation) -> None:
    decision = decide(view)
    assert decision.quantity is None or decision.quantity > view.quantity


@given(views(fresh=False, earlier=EarlierCalls()))
def test_no_worker_is_cordoned_on_anything_but_a_fresh_count(view: Situation) -> None:
    cordon = decide(view).cordon
    names = [*ORDERED, *UNORDERED]
    assert all(view.cordon.holds(n) for n in names if cordon.holds(n))


@given(views(blocked=True))
def test_a_blocked_platform_is_not_called(view: Situation) -> None:
    assert decide(view).quantity is None


@given(views(may_call=False))
def test_between_calls_there_are_hires_from_zero_alone(view: Situation) -> None:
    assert view.quantity == 0 or decide(view).quantity is None


@given(views(may_call=True, blocked=False, earlier=EarlierCalls()))
def test_what_is_missing_is_hired(view: Situation) -> None:
    assume(view.needed > 0)
    view = replace(view, quantity=min(view.quantity, view.needed - 1))
    assert decide(view).quantity == view.needed


@given(views())
def test_after_an_unconfirmed_hire_only_the_same_is_hired(view: Situation) -> None:
    quantity = decide(view).quantity
    if view.earlier.unconfirmed_hire is not None and quantity is not None:
        assert quantity == view.earlier.unconfirmed_hire or quantity < view.quantity


@given(views(earlier=EarlierCalls()))
def test_with_work_for_all_no_worker_is_cordoned(view: Situation) -> None:
    assert not decide(replace(view, quantity=min(view.quantity, view.needed))).cordon


@given(views())
def test_no_worker_that_may_yet_be_stopped_is_uncordoned(view: Situation) -> None:
    fire, stopping = view.earlier.unconfirmed_fire, view.earlier.stopping
    floors = [floor for floor in (fire, stopping) if floor is not None]
    assume(floors)
    cordon = decide(view).cordon
    if fire is not None:
        assert decide(view).quantity is None
    assert cordon.above is not None
    assert cordon.above <= min(floors)


@given(views())
def test_a_suppressed_change_is_not_made(view: Situation) -> None:
    decision = decide(view)
    assert not (decision.suppressed and decision.quantity is not None)
    assert decision.draining or not decision.cordon


@given(views())
def test_a_cordon_keeps_the_times_of_those_that_stay_cordoned(view: Situation) -> None:
    cordon = decide(view).cordon
    for name, since in cordon.since.items():
        if cordon is not view.cordon:
            assert since == view.cordon.since.get(name, NOW)
    assert cordon.at in (view.cordon.at, NOW, 0.0)
    if cordon.at == view.cordon.at and view.cordon.at != NOW and cordon:
        assert cordon.same_as(view.cordon), "another cordon must be confirmed anew"


@given(views(**FREE))
def test_it_comes_to_what_is_needed_when_all_workers_obey(view: Situation) -> None:
    calm = replace(view.fleet, running=(), missed=())
    start = obey(replace(view, fleet=calm), decide(view))
    assume(not start.fleet.unordered or len(start.fleet.presences) == start.quantity)
    assert settle(start).quantity == view.needed
