"""What the page reads of a ledger in Redis: in one call, and again only what is new."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from celery_middle_management import inspection
from celery_middle_management.core.demand import Held
from celery_middle_management.core.history import Sample
from celery_middle_management.core.presence import Presence
from celery_middle_management.ledger.model import Changes, Snapshot
from celery_middle_management.ledger.page import STREAMS
from celery_middle_management.ledger.redis import RedisLedger
from celery_middle_management.managed_app import ManagedApp
from celery_middle_management.views.status import status_of
from tests.integration.office import Office, office
from tests.servers import wait_for

POOLS: dict[str, Any] = {"worker": {}, "pdf": {"queues": ["pdf", 'a "queue", }']}}

#: No minute ends within this time (s) after a test began.
ENOUGH = 10


@pytest.fixture
def it(lonely_redis_url: str) -> Iterator[Office]:
    with office(lonely_redis_url, pools=POOLS) as made:
        # The first report of each minute takes a sample.
        seconds: Any = made.redis.time()
        left = 60 - seconds[0] % 60
        if left <= ENOUGH:
            time.sleep(left)
        yield made


def presence(name: str, **held: Held) -> Presence:
    return Presence(name, name, name.partition(".")[0], 1.0, 0.0, queues=("celery",), held=held)


def sampled(it: Office, *, ten: bool = False, **report: Any) -> Sample:
    """Have the next report take a sample, as if another minute had begun; return it."""
    state = it.ledger.keys["state"]
    it.redis.hset(state, mapping={"minute": "0"} | ({"summed": "0"} if ten else {}))
    it.report(**report)
    return it.ledger.page().tens[0] if ten else it.ledger.page().minutes[0]


def act(it: Office, number: int) -> None:
    entry = {"pool": "worker", "at": f"2026-11-28T10:{number // 60:02}:{number % 60:02}"}
    it.ledger.commit(it.lease(), Changes(history=[json.dumps(entry)]), next_in=0.0)


def calls(it: Office) -> int:
    """How many commands Redis has got from clients, other than this question."""
    stats: Any = it.redis.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval"))


# -- samples


def test_a_sample_tells_the_tasks_that_the_status_tells(it: Office) -> None:
    it.publish(7)
    it.publish(3, queue="pdf")
    it.publish(4, queue="pdf", due_in=3600.0)
    it.publish(2, due_in=0.001)
    it.report(presence("worker.1", celery=Held(waiting=1, running=2), pdf=Held(running=1)))
    it.report(presence("pdf.1", **{'a "queue", }': Held(running=1), "elsewhere": Held(running=1)}))
    it.redis.delete(it.ledger.keys["lock"])
    its = sampled(it)
    snapshot = it.ledger.snapshot()
    for pool in status_of(it.settings, snapshot, ("celery", "elsewhere"))["pools"]:
        told = its.pools[pool["name"]]
        tasks = {name: getattr(told, name) for name in ("waiting", "running", "scheduled")}
        assert tasks == {name: pool["tasks"][name] for name in tasks}
    assert its.pools["worker"].running == 3
    assert its.pools["pdf"].running == 2
    assert its.pools["pdf"].scheduled == 4
    assert its.pools["worker"].waiting == 6


def test_a_pool_that_has_only_scheduled_tasks_is_in_a_sample(it: Office) -> None:
    it.publish(5, queue="pdf", due_in=600.0)
    it.report()
    assert sampled(it).pools["pdf"][5:9] == (0, 0, 0, 5)


@pytest.mark.parametrize(
    "told",
    [
        '{"due": {}, "queues": ["pdf"], "held": {"pdf": [0, 1, 0]}}',
        '{"wrong":{"says \\"held":5.0},"held":{"pdf":[0,1]},"due":{}}',
        '{"held":{"pdf":[0,1,0,1]},"due":{"held":{"17":1}},"runs":[["a \\"held\\":{}",1.0]]}',
    ],
    ids=["in another order, of another release", "with a name like ours", "with more names"],
)
def test_however_a_worker_puts_it_what_it_runs_is_sampled(it: Office, told: str) -> None:
    it.report(presence("worker.1"))
    seen = round(it.ledger.snapshot().now * 1000)
    it.redis.hset(it.ledger.keys["workers"], "worker.1", f"{seen} {told}")
    assert sampled(it).pools["pdf"].running == 1


def test_a_silent_worker_is_left_out(it: Office) -> None:
    it.report(presence("worker.1", celery=Held(running=1)))
    key, ages = it.ledger.keys["workers"], 5001
    seen, _, told = str(it.redis.hget(key, "worker.1")).partition(" ")
    it.redis.hset(key, "worker.1", f"{int(seen) - ages} {told}")
    its = sampled(it)
    assert "worker" not in its.pools or its.pools["worker"].running == 0


def test_ten_minutes_are_summed_up_once(it: Office) -> None:
    it.publish()
    it.report()
    first = sampled(it, ten=True)
    its = sampled(it)
    assert len(it.ledger.page().tens) == 2
    assert first.at == its.at == it.ledger.page().tens[0].at
    assert first.pools["worker"].published == 1


# -- reading


def test_the_page_is_one_call_and_has_what_the_others_read(it: Office) -> None:
    for n in range(3):
        act(it, n)
    it.publish(2)
    it.report(presence("worker.1"))
    before = calls(it)
    page = it.ledger.page()
    assert calls(it) == before + 1
    assert same_but_for_now(page.snapshot, it.ledger.snapshot())
    assert page.minutes == it.ledger.history(61)
    assert page.actions == it.ledger.actions()
    assert len(page.tens) == 1
    assert page.full == ""


def same_but_for_now(one: Snapshot, other: Snapshot) -> bool:
    return {**vars(one), "now": 0} == {**vars(other), "now": 0}


def test_a_document_is_one_call_after_a_look(it: Office) -> None:
    it.publish(2)
    it.report()
    managed = ManagedApp(it.app, it.settings)
    look = inspection.look(managed)
    before = calls(it)
    document = inspection.page_document(managed, look)
    assert calls(it) == before + 1
    assert document.keys() == {"status", "history", "events", "money"}
    [tasks] = [p["tasks"] for p in document["status"]["pools"] if p["name"] == "worker"]
    assert (tasks["waiting"], tasks["in_broker"]) == (2, 2)
    assert document["history"]["hour"]["pools"]["worker"]["waiting"][-1] == 2
    managed.ledger().close()


def test_only_what_is_new_is_read_again(it: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = []
    run = RedisLedger._run

    def recorded(self: RedisLedger, name: str, *arguments: str | int) -> Any:
        answer = run(self, name, *arguments)
        if name == "page":
            answers.append([told[2] for told in answer[-3]])
        return answer

    for n in range(3):
        act(it, n)
    assert [len(entries) for entries in (it.ledger.page().minutes, it.ledger.page().tens)] == [1, 1]
    monkeypatch.setattr(RedisLedger, "_run", recorded)
    act(it, 3)
    actions = it.ledger.page().actions
    assert [json.loads(entry)["at"][-1] for entry in actions] == ["3", "2", "1", "0"]
    assert answers == [["", "", actions[0]]]
    assert it.ledger.page().actions == actions
    assert answers[1] == ["", "", ""]


def test_what_the_ledger_has_lost_the_page_loses(it: Office) -> None:
    act(it, 0)
    assert len(it.ledger.page().actions) == 1
    it.redis.flushall()
    page = it.ledger.page()
    assert (page.actions, page.minutes, page.tens) == ((), (), ())
    it.report()
    act(it, 1)
    assert [json.loads(entry)["at"][-1] for entry in it.ledger.page().actions] == ["1"]
    assert len(it.ledger.page().minutes) == 1


@pytest.mark.parametrize("stream", STREAMS)
def test_no_more_is_kept_than_is_read_at_first(it: Office, stream: str) -> None:
    def add(first: int, number: int) -> None:
        pipe: Any = it.redis.pipeline(transaction=False)
        for n in range(first, first + number):
            entry = json.dumps([n, {}]) if stream != "actions" else str(n)
            pipe.xadd(it.ledger.keys[stream], {"entry": entry}, maxlen=most, approximate=False)
        pipe.expire(it.ledger.keys[stream], 60)
        pipe.execute()

    def newest(ledger: RedisLedger) -> Any:
        page = ledger.page()
        return {"samples": page.minutes, "tens": page.tens, "actions": page.actions}[stream]

    most = STREAMS[stream]
    with office(it.app.conf.broker_url, pools=POOLS) as fresh:
        for first, number in (
            (0, most - 2),
            (most - 2, 5),
            (most + 3, 2 * most),
            (3 * most + 3, most),
        ):
            add(first, number)
            kept = newest(it.ledger)
            assert len(kept) == min(first + number, most)
            fresh.ledger._tails = {}
            assert kept == newest(fresh.ledger)


def test_the_page_knows_when_the_memory_is_full(it: Office) -> None:
    it.report()
    it.redis.config_set("maxmemory", 1)
    wait_for(lambda: it.ledger.full, 10.0)
    assert "no memory left" in it.ledger.page().full
    assert it.ledger.page().full.partition(":")[0] == it.ledger.full.partition(":")[0]
