"""Each Lua script and the Python that calls it agree on keys and fields."""

from __future__ import annotations

import json
from collections.abc import Collection
from time import monotonic
from typing import Any, TypedDict

import pytest

from celery_middle_management.core.batch import FINISHED, PUBLISHED, Batch, Record
from celery_middle_management.core.presence import Presence
from celery_middle_management.ledger import messages, news
from celery_middle_management.ledger import redis as in_redis
from celery_middle_management.ledger.clocks import SYSTEM
from celery_middle_management.ledger.lua import ScriptMismatch, check, load
from celery_middle_management.ledger.model import Changes, Lease
from celery_middle_management.ledger.page import PageMessage
from celery_middle_management.ledger.redis import KEYS, RedisLedger
from celery_middle_management.ledger.sampling import Sampling

from .test_pool_evaluation import SETTINGS


class Recording(RedisLedger):
    """Keeps what would be sent to each script."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(in_redis, "connect", lambda _: _NoRedis())
        super().__init__(SETTINGS)
        self.sent: dict[str, list[dict[str, Any]]] = {}
        self.others: dict[str, list[dict[str, Any]]] = {}
        self.keys_of: dict[str, list[str]] = {}
        self._scripts = {name: self._script(name) for name in self._scripts}

    def _script(self, name: str) -> Any:
        def called(keys: Collection[str], arguments: list[Any]) -> Any:
            # The first argument of a commit is the scaler's token.
            message, *others = map(json.loads, arguments[name == "commit" :])
            self.sent.setdefault(name, []).append(message)
            self.others[name] = others
            self.keys_of[name] = [key.rpartition(":")[2] for key in keys]
            return _ANSWERS.get(name, 1)

        return called


class _NoRedis:
    def register_script(self, _: str) -> None:
        return None


_ANSWERS = {
    "report": '{"now": 1000, "lease": false, "wait": 1, "held": {}, "born": "b", "sent":'
    ' "{\\"worker/fire\\": {\\"to\\": 0, \\"until\\": 9e9}}", "watched": false, "failing": false}',
    "snapshot": [1000, 0, "", "", "", []],
    "page": [1000, 0, "", "", "", [], [["1-0", 0, ""]] * 3, "", ""],
}


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Recording:
    """One of which everything has been asked."""
    ledger = Recording(monkeypatch)
    batch = Batch(SETTINGS.pool_name)
    batch.add(Record(PUBLISHED, "celery", monotonic(), 0.0), SYSTEM.now())
    batch.add(Record(FINISHED, "celery", monotonic(), 1.0), SYSTEM.now())
    presence = Presence("a", "worker.1", "worker", 1.0, 0.0)
    for _ in range(2):  # the second time, with what the first reply said
        ledger.report(batch, "a", presence, unseen=1)
    ledger.snapshot()
    ledger.page()
    ledger.commit(Lease("token", 0.0), Changes(), "0", next_in=1.0)
    ledger.intend({}, {"pause": None}, {"id": "1"})
    ledger.claim("1", 10)
    return ledger


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("report", messages.ReportMessage),
        ("snapshot", messages.Bounds),
        ("page", PageMessage),
        ("commit", messages.CommitMessage),
        ("intend", messages.IntendMessage),
        ("claim", news.ClaimMessage),
    ],
)
def test_a_script_is_sent_the_declared_fields(ledger: Recording, name: str, message: Any) -> None:
    sent = ledger.sent[name][-1]
    declared = message.__required_keys__ | message.__optional_keys__
    # Where the uptime goes on while the machine sleeps, it needs no limit.
    assert {*sent} | {"longest"} == declared | {"longest"}
    assert ledger.keys_of[name] == [*KEYS[name]]


def test_the_parts_of_a_report_have_the_declared_fields(ledger: Recording) -> None:
    sent = ledger.sent["report"][-1]
    assert {*sent["pools"]["worker"]} == messages.PoolCounts.__required_keys__
    assert {*sent["sent"]["worker/fire"]} == messages.InFlight.__required_keys__
    [sampling] = ledger.others["report"]
    # Without a pool of all queues, there is no rest.
    declared = Sampling.__required_keys__ | Sampling.__optional_keys__
    assert {*sampling} | {"rest"} == declared


# -- a difference is found when the script is loaded


class Greeting(TypedDict):
    """A message to a script."""

    word: str


class Named(Greeting, total=False):
    """The same, with a name if there is one."""

    name: str


class Bounded(Named, messages.Bounds, total=False):
    """The same, with what every script needs of the ledger's time."""


PRELUDE = """\
-- ## Bounds (bounds)
--   least?    ms
--   most?     ms
--   longest?  ms
local _ = bounds.least, bounds.most, bounds.longest
"""
SCRIPT = """\
local state, lock = unpack(KEYS)
-- ## {table} (msg): ARGV[1]; not msg.this
--   word   text  to say
--                to someone
--   name?  text  of that one
return msg.word .. msg.name
"""


def checked(script: str, message: Any = Named, keys: tuple[str, ...] = ("state", "lock")) -> None:
    check("it", PRELUDE + script.format(table=message.__name__), keys, (message,))


@pytest.mark.parametrize("message", [Named, Bounded])
def test_a_script_that_agrees_with_its_caller_is_loaded(message: Any) -> None:
    checked(SCRIPT, message)


@pytest.mark.parametrize(
    ("keys", "differing"),
    [
        (("state", "lock", "due"), "due"),
        (("state",), "lock"),
        (("lock", "state"), "their order"),
    ],
    ids=["a key too many", "a key too few", "another order"],
)
def test_other_keys_are_found(keys: tuple[str, ...], differing: str) -> None:
    with pytest.raises(ScriptMismatch, match=f" differ in keys: {differing}$"):
        checked(SCRIPT, keys=keys)


@pytest.mark.parametrize(
    ("script", "message", "differing"),
    [
        (SCRIPT, Greeting, "the fields of Greeting: name?"),
        (SCRIPT.replace("--   word   text  to say\n", ""), Named, "the fields of Named: word"),
        (SCRIPT.replace("name?", "name"), Named, "the fields of Named: name, name?"),
        (SCRIPT.replace(" .. msg.name", ""), Named, "the use of Named: name"),
        (SCRIPT.replace("msg.word ..", "msg.wrod .."), Named, "the use of Named: word, wrod"),
        (SCRIPT.replace("## {table}", "{table}"), Named, "tables: Named"),
    ],
    ids=[
        "the caller lacks a field",
        "the table lacks a field",
        "not optional in the table",
        "the code does not use a field",
        "the code uses another field",
        "no table",
    ],
)
def test_other_fields_are_found(script: str, message: Any, differing: str) -> None:
    with pytest.raises(ScriptMismatch) as error:
        checked(script, message)
    assert str(error.value) == f"it.lua and its caller differ in {differing}"


def test_a_script_of_the_package_is_checked_as_well() -> None:
    with pytest.raises(ScriptMismatch, match=r"^intend\.lua and its caller differ in keys: lock$"):
        load("intend", keys=(*KEYS["intend"], "lock"), messages=(messages.IntendMessage,))
    with pytest.raises(
        ScriptMismatch,
        match=r"^intend\.lua and its caller differ in tables: CommitMessage, IntendMessage$",
    ):
        load("intend", keys=KEYS["intend"], messages=(messages.CommitMessage,))
