"""What looks into the app, tracing above all, is not disturbed by what we do beside it."""

from __future__ import annotations

import json

import pytest
import redis

from celery_middle_management.demo.redis_server import RedisServer
from tests.integration.stage import stage
from tests.servers import wait_for

#: Prints, by thread name, the context that instrumentation of threads would hand on to ours.
PUBLISHES_IN_A_REQUEST = """
import contextvars, json, threading, time
request, seen = contextvars.ContextVar("request", default=None), {}
def noting(method):
    def noted(thread):
        seen.setdefault(thread.name, []).append(request.get())
        return method(thread)
    return noted
for name in ("start", "run"):
    setattr(threading.Thread, name, noting(getattr(threading.Thread, name)))
request.set("a request")
threading.Thread(name="theirs").start()
noop.delay()
give_up = time.monotonic() + 60
while "mm-evaluation" not in seen and time.monotonic() < give_up: time.sleep(0.05)
print(json.dumps(seen))
"""


def test_no_thread_of_ours_lives_on_in_the_context_of_a_request(redis_url: str) -> None:
    with stage(redis_url, command=None) as on:
        seen = json.loads(on.script(PUBLISHES_IN_A_REQUEST).stdout)
    assert seen["theirs"][0] == "a request"
    ours = {name: told for name, told in seen.items() if name.startswith("mm-")}
    assert ours.keys() >= {"mm-agent", "mm-evaluation"}
    assert {one for told in ours.values() for one in told} == {None}


#: Prints which commands about ours a tracer of redis-py sees, and of how many in all.
TRACES_REDIS = """
import redis, time
execute, seen = redis.Redis.execute_command, []
def traced(self, *args, **options):
    seen.append(args)
    return execute(self, *args, **options)
redis.Redis.execute_command = traced
noop.delay()
time.sleep(3)
print(len(seen), [args for args in seen if any("middle-management" in str(arg) for arg in args)])
"""


def test_no_look_into_the_ledger_is_a_trace_of_its_own(redis_url: str) -> None:
    with stage(redis_url, command=None) as on:
        seen, ours = on.script(TRACES_REDIS).stdout.split(" ", 1)
        on.wait_for_quantity(1)
    assert int(seen) > 0
    assert ours == "[]\n"


def test_no_script_fails_for_not_being_loaded() -> None:
    with RedisServer() as server, stage(server.url, command=None) as on:
        with on.program("work.delay(); import time; time.sleep(60)"):
            on.wait_for_quantity(1)
            wait_for(lambda: on.status()["tasks"]["counted_at"])
        assert "errorstat_NOSCRIPT" not in errors(on.redis)


@pytest.mark.slow
def test_scripts_that_are_forgotten_are_loaded_anew() -> None:
    code = """
        import sys
        for line in sys.stdin: work.delay()
    """
    with RedisServer() as server, stage(server.url, command=None) as on, on.program(code) as it:
        assert it.stdin is not None
        for workers in (1, 2):
            print(file=it.stdin, flush=True)
            on.wait_for_quantity(workers)
            on.redis.script_flush()


def errors(client: redis.Redis) -> dict[str, object]:
    """How often each kind of error was answered."""
    found: dict[str, object] = client.info("errorstats")  # type: ignore[assignment]
    return found
