"""What real evaluations put on the bill, in virtual time, against sums made by hand."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from celery_middle_management.core.bill import KEPT_DAYS
from celery_middle_management.core.traits import DOTTED
from celery_middle_management.evaluation.accounts import Accounts
from celery_middle_management.evaluation.pool import PoolEvaluation
from celery_middle_management.evaluation.ports import Queues
from celery_middle_management.ledger.accounts import entries_of, read_accounts
from celery_middle_management.ledger.model import Changes, Snapshot
from celery_middle_management.platforms import PlatformError, Refused
from celery_middle_management.views.money import days_of, money_of

from .one_off_world import OneOffWorld
from .processes import POOL
from .world import WELL, Behaviour, World

SMALL, LARGE = "standard-1x", "standard-2x"
PRICES = {SMALL: 2500, LARGE: 5000}
#: Tasks that need one worker.
EACH = 4


class Priced(World):
    """A world whose workers have a size, and that can be moved to any time."""

    prices_answer = True
    known = True

    def __init__(self, at: str = "2026-11-09T00:00", minimum: int = 0) -> None:
        self.sizes: Mapping[str, str] = {POOL: SMALL}
        #: When (s) the prices were asked for.
        self.priced_at: list[float] = []
        self.last_call = ""
        self._make(minimum)
        self.at(at)

    def _make(self, minimum: int) -> None:
        World.__init__(self, minimum, numbered=True, traits=DOTTED)

    # -- the platform

    def quantities(self, pools: Collection[str], deadline: float) -> dict[str, int | Refused]:
        self.last_call = "quantities"
        found = super().quantities(pools, deadline)
        return found if self.known else {POOL: Refused("no such type", unknown=True)}

    def scale(
        self, quantities: Mapping[str, int], deadline: float
    ) -> dict[str, int | PlatformError]:
        self.last_call = "scale"
        return super().scale(quantities, deadline)

    def prices(self, deadline: float) -> dict[str, int]:
        self.priced_at.append(self.now)
        self.before_prices = self.last_call
        if not self.prices_answer:
            raise PlatformError("no answer")
        return PRICES

    # -- what happens

    def at(self, when: str) -> None:
        """Go on to this time (UTC); nothing evaluates until then."""
        self.now = datetime.fromisoformat(f"{when}+00:00").timestamp()

    def settle(self) -> None:
        """Evaluate, and have hired workers be heard of."""
        self.evaluate()
        self.store.state.pop(f"{POOL}/unheard", None)

    def pause_fires(self) -> None:
        """Since no worker reports that it is drained, only a person fires."""
        self.store.state["pause"] = json.dumps({"hires": False, "fires": True, "who": "test"})

    def hire_to(self, when: str, quantity: int) -> None:
        """Tasks come that need so many workers, and an evaluation hires them."""
        self.at(when)
        self.ready = EACH * quantity
        self.settle()
        assert self.target == quantity

    def by_hand(self, when: str, quantity: int, size: str = SMALL) -> None:
        """A person sets the quantity, and an evaluation finds it at once."""
        self.at(when)
        self.ready = 0
        self.target, self.sizes = quantity, {POOL: size}
        self.store.state["read_at"] = "0"
        self.settle()

    # -- what is known of it

    @property
    def snapshot(self) -> Snapshot:
        return self.publisher.ledger.snapshot()

    @property
    def money(self) -> dict[str, Any]:
        return money_of(self._settings, self.snapshot, self.publisher.ledger.bill())

    @property
    def hours(self) -> dict[str, float]:
        """By day and size, as it will be on the bill."""
        now = round(self.now * 1000)
        found = {
            f"{e.day} {e.size}": e.worked / 3.6e6 for e in entries_of(self.publisher.ledger.bill())
        }
        for account in read_accounts(self.snapshot).values():
            for day, worked in account.until(now).items():
                key = f"{day} {account.size}"
                found[key] = found.get(key, 0.0) + worked / 3.6e6
        return {key: round(hours, 4) for key, hours in found.items()}


class PricedOneOffs(Priced, OneOffWorld):
    """The same with workers that are hired one by one."""

    def _make(self, minimum: int) -> None:
        OneOffWorld.__init__(self, minimum)


def test_a_week_costs_what_the_sum_by_hand_says() -> None:
    """To the cent: November has 720 hours.

    | hours | workers | dyno-hours |
    | --- | --- | --- |
    | Monday 8 to 18 | 3 | 30 |
    | Tuesday 9 to Wednesday 1:30 | 2 | 30 + 3 |
    | Thursday, all day | 1 | 24 |
    | Friday 12:15:30 to 12:45:30 | 4 | 2 |
    | Saturday 22 to Sunday 2 | 1 | 2 + 2 |
    | Sunday 10 to 16, of twice the size | 2 | 12 |

    93 hours at $25 / 720 and 12 hours at $50 / 720: $3.229 + $0.833 = $4.06. Four workers all week
    are 672 hours: 576 until Saturday, and 96 on Sunday, of which 12 in 14 have twice the size. They
    cost $20 + $3.33 * (2 + 2 * 12) / 14 = $26.19: 84.5 % less.
    """
    week = Priced("2026-11-09T00:00")
    week.pause_fires()
    week.settle()
    week.hire_to("2026-11-09T08:00", 3)
    week.by_hand("2026-11-09T18:00", 0)
    week.hire_to("2026-11-10T09:00", 2)
    week.by_hand("2026-11-11T01:30", 0)
    week.hire_to("2026-11-12T00:00", 1)
    week.by_hand("2026-11-13T00:00", 0)
    week.hire_to("2026-11-13T12:15:30", 4)
    week.by_hand("2026-11-13T12:45:30", 0)
    week.hire_to("2026-11-14T22:00", 1)
    week.by_hand("2026-11-15T02:00", 0)
    week.by_hand("2026-11-15T10:00", 2, LARGE)
    week.by_hand("2026-11-15T16:00", 0, LARGE)
    week.at("2026-11-15T23:59:59.999")
    money = week.money
    assert money["month"] == {"hours": 105.0, "dollars": 4.0625}
    assert money["today"] == {"hours": 14.0, "dollars": round(2 * 25 / 720 + 12 * 50 / 720, 4)}
    assert money["always_on"] == {"hours": 672.0, "dollars": 26.1905}
    assert money["saved"] == pytest.approx(0.8449, abs=0.0001)
    assert money["since"] == "2026-11-09T00:00:00.000+00:00"
    [pool] = money["pools"]
    assert pool == {"name": POOL} | {
        name: money[name] for name in ("today", "month", "always_on", "saved")
    }
    days = {d["day"][8:]: d["hours"] for d in days_of(week.snapshot, week.publisher.ledger.bill())}
    assert days == {"09": 30, "10": 30, "11": 3, "12": 24, "13": 2, "14": 2, "15": 14}


def test_workers_that_were_always_on_have_saved_nothing_although_their_size_changed() -> None:
    it = Priced("2026-11-09T00:00", minimum=4)
    it.settle()
    for day, size in ((10, LARGE), (12, SMALL), (13, LARGE)):
        it.by_hand(f"2026-11-{day}T06:00", 4, size)
        it.at(f"2026-11-{day}T18:00")
        money = it.money
        assert money["always_on"]["dollars"] == pytest.approx(money["month"]["dollars"], abs=0.0001)
        assert money["saved"] == pytest.approx(0.0, abs=0.0001)


def test_what_ran_while_nothing_evaluated_is_counted_up_to_now() -> None:
    it = Priced("2026-11-30T20:00", minimum=2)
    it.evaluate()
    it.at("2026-12-01T03:00")
    assert it.money["month"]["hours"] == 6.0
    assert it.publisher.ledger.bill() == {}
    it.evaluate()
    assert it.hours == {f"2026-11-30 {SMALL}": 8.0, f"2026-12-01 {SMALL}": 6.0}
    assert it.money["month"] == {"hours": 6.0, "dollars": round(6 * 25 / 744, 4)}


def hired(**how: Any) -> Priced:
    """A world in which four workers were to be hired at ten, and that is found out at eleven."""
    it = Priced("2026-11-09T09:00")
    it.pause_fires()
    it.settle()
    it.at("2026-11-09T10:00")
    it.ready = EACH * 4
    it.evaluate(Behaviour(**how))
    it.advance(0.0)
    it.behaviour = WELL
    it.store.lock = None
    it.store.state["read_at"] = "0"
    it.ready = EACH * it.target
    it.at("2026-11-09T11:00")
    it.settle()
    it.at("2026-11-09T12:00")
    return it


@pytest.mark.parametrize(
    ("how", "hours"),
    [
        ({"change": "done"}, 8.0),
        ({"change": "died"}, 8.0),
        ({"change": "unanswered"}, 8.0),
        ({"change": "deaf"}, 8.0),
        ({"change": "done", "dies_after": 2}, 8.0),
        ({"change": "lost"}, 0.0),
        ({"change": "refused"}, 0.0),
        ({"change": "done", "dies_after": 1}, 0.0),
    ],
)
def test_a_hire_counts_from_when_it_was_announced_if_it_was_carried_out(
    how: dict[str, Any], hours: float
) -> None:
    it = hired(**how)
    assert (it.target == 4) is bool(hours)
    assert it.hours == ({f"2026-11-09 {SMALL}": hours} if hours else {})


def test_a_refused_hire_is_not_taken_for_one_that_a_person_makes_later() -> None:
    it = Priced("2026-11-09T09:00")
    it.pause_fires()
    it.settle()
    it.at("2026-11-09T10:00")
    it.ready = EACH * 4
    it.evaluate(Behaviour("refused"))
    it.behaviour = WELL
    it.by_hand("2026-11-09T11:00", 4)
    it.at("2026-11-09T12:00")
    assert it.hours == {f"2026-11-09 {SMALL}": 4.0}


def test_nothing_is_added_while_it_is_not_known_whether_the_platform_obeyed() -> None:
    it = Priced("2026-11-09T09:00")
    it.settle()
    it.at("2026-11-09T10:00")
    it.ready = EACH
    it.evaluate(Behaviour("deaf"))
    it.behaviour = Behaviour(answers=False)
    for minute in range(1, 30):
        it.at(f"2026-11-09T10:{minute:02}")
        it.evaluate(it.behaviour)
    assert it.publisher.ledger.bill() == {}
    assert read_accounts(it.snapshot)[POOL].to == 1


def test_what_the_ledger_has_lost_is_not_counted_twice_nor_made_up() -> None:
    it = Priced("2026-11-09T09:00", minimum=2)
    it.evaluate()
    it.at("2026-11-09T10:00")
    it.evaluate()
    it.at("2026-11-09T11:00")
    it.lose_ledger()
    it.evaluate()
    it.at("2026-11-09T12:00")
    assert it.hours == {f"2026-11-09 {SMALL}": 2.0}
    assert it.money["since"] == "2026-11-09T11:00:00.000+00:00"


def test_time_in_which_a_release_without_accounts_evaluated_is_left_out() -> None:
    it = Priced("2026-11-09T09:00", minimum=2)
    it.evaluate()
    it.at("2026-11-09T10:00")
    it.evaluate()
    ours = {name: it.store.state[name] for name in ("accounts", "billed_at")}
    bill = dict(it.store.bill)
    it.at("2026-11-09T11:00")
    it.evaluate()  # the old release: it leaves alone what it does not know
    it.store.state |= ours
    it.store.bill = bill
    it.at("2026-11-09T12:00")
    assert it.money["month"]["hours"] == 2.0
    it.evaluate()
    it.at("2026-11-09T13:00")
    assert it.hours == {f"2026-11-09 {SMALL}": 2.0 + 2.0}


def test_an_unknown_quantity_is_not_made_up() -> None:
    it = Priced("2026-11-09T09:00", minimum=2)
    it.evaluate()
    it.at("2026-11-09T10:00")
    it.known = False
    it.evaluate()
    it.at("2026-11-09T15:00")
    it.evaluate()
    assert it.hours == {f"2026-11-09 {SMALL}": 2.0}
    it.known = True
    it.at("2026-11-09T16:00")
    it.store.state["read_at"] = "0"
    it.evaluate()
    it.at("2026-11-09T17:00")
    assert it.hours == {f"2026-11-09 {SMALL}": 4.0}


def test_a_dry_run_counts_the_workers_that_there_are() -> None:
    it = Priced("2026-11-09T09:00", minimum=1)
    it._settings = replace(it._settings, dry_run=True)
    it.ready = EACH * 4
    it.evaluate()
    it.at("2026-11-09T11:00")
    assert it.hours == {f"2026-11-09 {SMALL}": 2.0}


def test_a_pool_that_is_dropped_ends_its_account() -> None:
    it = Priced("2026-11-09T09:00", minimum=2)
    it.evaluate()
    pool = replace(it._settings.pools[0], name="other", min_workers=0)
    it._settings = replace(it._settings, pools=(pool,))
    it.sizes = {"other": SMALL}
    it.quantities = lambda pools, deadline: dict.fromkeys(pools, 0)  # type: ignore[method-assign]
    it.at("2026-11-09T10:00")
    it.evaluate()
    it.at("2026-11-09T12:00")
    assert POOL not in read_accounts(it.snapshot)
    assert it.hours == {f"2026-11-09 {SMALL}": 2.0}
    assert [pool["name"] for pool in it.money["pools"]] == ["other", POOL]


def test_the_62_latest_days_are_kept() -> None:
    it = Priced("2026-11-09T09:00", minimum=1)
    it.evaluate()
    months = [(month, day) for month in ("07", "08") for day in range(1, 32)]
    it.store.bill |= {f"{POOL}/2026-{month}-{day:02}/{SMALL}": 1 for month, day in months}
    it.at("2026-11-10T09:00")
    it.evaluate()
    days = [e.day for e in entries_of(it.publisher.ledger.bill())]
    assert len(days) == KEPT_DAYS
    assert (days[0], days[-2:]) == ("2026-07-03", ["2026-11-09", "2026-11-10"])


# -- one-off workers


def one_offs(formation: int = 0, size: str | None = LARGE) -> PricedOneOffs:
    it = PricedOneOffs("2026-11-09T09:00")
    pool = replace(it._settings.pools[0], dyno_size=size)
    it._settings = replace(it._settings, pools=(pool,))
    it.pause_fires()
    it.target = formation
    it.settle()
    return it


@pytest.mark.parametrize(("size", "paid"), [(LARGE, LARGE), (None, SMALL), ("Standard-2X", LARGE)])
def test_one_off_workers_have_a_size_of_their_own(size: str | None, paid: str) -> None:
    it = one_offs(formation=1, size=size)
    it.at("2026-11-09T10:00")
    it.ready = EACH * 2
    it.evaluate()
    assert len(it.singles) == 2
    it.at("2026-11-09T11:00")
    expected = {f"2026-11-09 {SMALL}": 2.0}
    key = f"2026-11-09 {paid}"
    assert it.hours == {**expected, key: expected.get(key, 0.0) + 2.0}


@pytest.mark.parametrize(
    ("change", "hours"),
    [("done", 4.0), ("deaf", 4.0), ("died", 4.0), ("lost", 0.0), ("refused", 0.0)],
)
def test_a_one_off_worker_counts_from_its_hire_once_it_is_known_to_exist(
    change: str, hours: float
) -> None:
    it = one_offs()
    it.at("2026-11-09T10:00")
    it.ready = EACH * 2
    it.evaluate(Behaviour(change))
    it.advance(0.0)
    it.store.lock = None
    it.ready = 0
    it.at("2026-11-09T11:00")
    for worker in it.singles:
        worker.up, worker.since = True, it.now
        it.report(worker)
    it.at("2026-11-09T11:00:12")
    it.settle()
    it.at("2026-11-09T12:00")
    assert len(it.singles) == (2 if hours else 0)
    assert it.hours == ({f"2026-11-09 {LARGE}": hours} if hours else {})


def test_one_off_workers_that_were_let_go_cost_nothing_more() -> None:
    it = one_offs()
    it.at("2026-11-09T10:00")
    begun = it.now
    it.ready = EACH * 2
    it.evaluate()
    for second in range(30):
        it.advance(1.0)
        if second == 25:
            del it.store.state["pause"]
            it.ready = 0
        for worker in it.up:
            it.report(worker)
            it.obey(worker)
        it.look_if_due()
    while it.singles:
        it.advance(1.0)
        for worker in it.up:
            it.report(worker)
            it.obey(worker)
        it.evaluate()
    ended = it.now
    for _ in range(100):
        it.advance(1.0)
        it.evaluate()
    [hours] = it.hours.values()
    assert 2 * 25 / 3600 < hours <= 2 * (ended - begun) / 3600


# -- prices


def test_prices_are_read_once_a_day_after_all_else_and_only_beside_other_calls() -> None:
    it = Priced("2026-11-09T09:00")
    it.pause_fires()
    it.store.state |= {"read_at": str(round(it.now * 1000)), f"{POOL}/quantity": "0"}
    it.store.state[f"{POOL}/formation"] = "0"
    it.evaluate()
    assert it.priced_at == []
    it.hire_to("2026-11-09T10:00", 1)
    assert it.priced_at == []  # The hire from zero did not wait for the call interval.
    it.at("2026-11-09T10:02")
    it.settle()
    first = it.now
    for when in ("2026-11-09T11:00", "2026-11-10T10:01", "2026-11-10T10:03"):
        it.at(when)
        it.settle()
    assert it.priced_at == [first, it.now]


def test_without_an_answer_the_prices_stay_and_it_is_no_trouble() -> None:
    it = Priced("2026-11-09T09:00", minimum=1)
    it.evaluate()
    it.at("2026-11-09T09:02")
    it.evaluate()
    assert len(it.priced_at) == 1
    it.prices_answer = False
    it.at("2026-11-10T10:00")
    it.evaluate()
    it.at("2026-11-10T10:05")
    it.evaluate()
    it.at("2026-11-10T10:11")
    it.evaluate()
    assert len(it.priced_at) == 3
    assert it.money["month"]["dollars"] == pytest.approx(25.1833 * 25 / 720, abs=0.001)
    assert it.money["prices_at"] == "2026-11-09T09:02:00.000+00:00"
    assert "troubles" not in it.store.state or json.loads(it.store.state["troubles"]) == {}
    assert "blocked_until" not in it.store.state


def test_a_price_that_is_not_known_is_none() -> None:
    it = Priced("2026-11-09T09:00", minimum=1)
    it.sizes = {POOL: "private-s"}
    it.evaluate()
    it.at("2026-11-09T11:00")
    money = it.money
    assert money["today"] == {"hours": 2.0, "dollars": None}
    assert money["always_on"] == {"hours": 8.0, "dollars": None}
    assert money["saved"] == 0.75


def test_a_pool_that_may_have_no_workers_saves_nothing() -> None:
    it = Priced("2026-11-09T09:00")
    it._settings = replace(it._settings, pools=(replace(it._settings.pools[0], max_workers=0),))
    it.evaluate()
    it.at("2026-11-09T11:00")
    assert it.money["always_on"] == {"hours": 0.0, "dollars": 0.0}
    assert it.money["saved"] is None


def test_days_are_those_of_redis_clock_after_it_has_stepped_back() -> None:
    """The ledger's time goes on evenly; three hours ahead, it is past midnight too soon."""
    begun, now = (datetime.fromisoformat(f"2026-11-{at}:00+00:00") for at in ("29T23", "30T04"))
    account = [round(begun.timestamp() * 1000), 2, SMALL, None]
    state = {"accounts": json.dumps({POOL: account})}
    world = World(0, numbered=True)
    ahead = Snapshot(now.timestamp(), state, {}, (), {}, offset=3 * 3600.0)
    pools = [
        PoolEvaluation(*(world._settings.pools[0], world._settings, ahead, Changes(), Queues()))
    ]
    changes = Changes()
    Accounts(ahead, changes, pools).write(ahead.now)
    assert changes.bill == {
        f"{POOL}/2026-11-29/{SMALL}": 8 * 3_600_000,
        f"{POOL}/2026-11-30/{SMALL}": 2 * 3_600_000,
    }
    assert changes.bill_days == [KEPT_DAYS]
