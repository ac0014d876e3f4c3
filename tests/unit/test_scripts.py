"""Each Lua script and the Python that calls it mean the same arguments and keys."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from time import monotonic
from typing import Any

import pytest

from celery_middle_management.core.batch import FINISHED, PUBLISHED, Batch, Record
from celery_middle_management.core.presence import Presence
from celery_middle_management.ledger import redis as in_redis
from celery_middle_management.ledger.lua import script
from celery_middle_management.ledger.model import Changes, Lease
from celery_middle_management.ledger.redis import RedisLedger

from .test_pool_evaluation import SETTINGS

#: Read where a script hands its message to `clock`.
BOUNDS = {"least", "most", "longest"}


class Recording(RedisLedger):
    """Keeps what would be sent to each script."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(in_redis, "connect", lambda _: _NoRedis())
        super().__init__(SETTINGS)
        self.sent: dict[str, list[dict[str, Any]]] = {}
        self.keys_of: dict[str, int] = {}
        self._scripts = {name: self._script(name) for name in self._scripts}

    def _script(self, name: str) -> Any:
        def called(keys: Collection[str], arguments: list[Any]) -> Any:
            self.sent.setdefault(name, []).append(json.loads(arguments[-1]))
            self.keys_of[name] = len(keys)
            return _ANSWERS.get(name, 1)

        return called


class _NoRedis:
    def register_script(self, _: str) -> None:
        return None


_ANSWERS = {
    "report": '{"now": 1000, "lease": false, "wait": 1, "held": {}, "born": "b", "sent":'
    ' "{\\"worker/fire\\": {\\"to\\": 0, \\"until\\": 9e9}}", "watched": false, "failing": false}',
    "snapshot": [1000, 0, "", "", "", []],
}


def everything_is_asked(ledger: Recording) -> None:
    batch = Batch(SETTINGS.pool_name)
    batch.add(Record(PUBLISHED, "celery", monotonic(), 0.0))
    batch.add(Record(FINISHED, "celery", monotonic(), 1.0))
    presence = Presence("a", "worker.1", "worker", 1.0, 0.0)
    for _ in range(2):  # what it has heard, it tells the second time
        ledger.report(batch, "a", presence, unseen=1)
    ledger.snapshot()
    ledger.commit(Lease("token", 0.0), Changes(), "0", next_in=1.0)
    ledger.intend({"pause": None}, "{}")


def names(pattern: str, text: str) -> set[str]:
    return set(re.findall(pattern, text))


@pytest.mark.parametrize("name", ["report", "commit", "intend"])
def test_a_script_reads_what_it_is_told_and_nothing_else(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Recording(monkeypatch)
    everything_is_asked(ledger)
    told: set[str] = set().union(*ledger.sent[name])
    read = names(r"\bmsg\.(\w+)", script(name))
    assert read - BOUNDS == told - BOUNDS
    assert {*told} & BOUNDS  # of which `clock` reads


def test_a_pools_part_of_a_report_is_read_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Recording(monkeypatch)
    everything_is_asked(ledger)
    told: Mapping[str, Any] = ledger.sent["report"][0]["pools"]["worker"]
    assert names(r"\br\.(\w+)", script("report")) == {*told}


@pytest.mark.parametrize(
    ("name", "keys"), [("report", 6), ("snapshot", 4), ("commit", 6), ("intend", 2)]
)
def test_a_script_gets_the_keys_that_it_unpacks(
    name: str, keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Recording(monkeypatch)
    everything_is_asked(ledger)
    assert ledger.keys_of[name] == keys
    [unpacked] = re.findall(r"^local (.*) = unpack\(KEYS\)", script(name), re.M) or [""]
    highest = max(map(int, re.findall(r"KEYS\[(\d+)\]", script("prelude", name))), default=1)
    assert max(len(unpacked.split(",")) if unpacked else 1, highest) == keys
