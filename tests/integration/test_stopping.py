"""What is published just before a process is stopped is hired for."""

from __future__ import annotations

import subprocess

import pytest

from tests.integration.stage import Stage, stage
from tests.servers import wait_for

#: Ends as uvicorn does: after its graceful shutdown it raises SIGTERM for the default handler.
STOPS = """
    import os, signal, sys
    {publish}
    print({flush}, flush=True)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTERM)
"""
FLUSH = "celery_middle_management.flush(app)"


def stopped(on: Stage, publish: str, flush: str = FLUSH, **env: str) -> str:
    """What such a program prints before it is ended."""
    code = STOPS.format(publish=publish, flush=flush)
    with pytest.raises(subprocess.CalledProcessError) as ended:
        on.script(code, **env)
    assert ended.value.returncode == -15, ended.value.stderr
    return str(ended.value.stdout).strip()


@pytest.mark.parametrize("patch", ["", "gevent", "eventlet"])
def test_what_is_published_just_before_a_signal_is_hired_for(redis_url: str, patch: str) -> None:
    if patch:
        pytest.importorskip(patch)
    with stage(redis_url, command=None) as on:
        assert stopped(on, "work.delay(); work.delay()", PATCH=patch) == "True"
        assert on.quantity == 2


def test_from_a_coroutine(redis_url: str) -> None:
    publish = """import asyncio; work.delay()
    flush = asyncio.to_thread(celery_middle_management.flush, app)"""
    with stage(redis_url, command=None) as on:
        assert stopped(on, publish, "asyncio.run(flush)") == "True"
        assert on.quantity == 1


def test_what_is_published_after_a_flush_is_hired_for_too(redis_url: str) -> None:
    lives_on = "import time; time.sleep(60)"
    with stage(redis_url, command=None) as on:
        on.script(f"work.delay(); {FLUSH}; work.delay()")
        assert on.number("worker/published") == 2
        with on.program(f"work.delay(); {FLUSH}; work.delay(); {lives_on}"):
            wait_for(lambda: on.number("worker/published") == 4)


def test_there_may_be_nothing_to_flush(redis_url: str) -> None:
    with stage(redis_url, command=None) as on:
        assert stopped(on, "") == "True"
        assert stopped(on, "work.delay()", MM_OFF="1") == "True"
        assert stopped(on, "work.delay()", MIDDLE_MANAGEMENT_MAX_WORKERS="many") == "True"
        assert not on.redis.exists("{middle-management:myapp}:state")


def test_a_flush_does_not_wait_for_ever(redis_url: str) -> None:
    with stage(redis_url, command=None) as on:
        on.emulator.fault("hang")
        assert stopped(on, "work.delay()", "celery_middle_management.flush(app, 3)") == "False"
        assert on.number("worker/published") == 1


#: Serves until it has published a task, and is stopped at once.
UVICORN = """
    import asyncio, os, signal, uvicorn
    def publish_and_stop():
        work.delay()
        os.kill(os.getpid(), signal.SIGTERM)
    async def web(scope, receive, send):
        assert scope["type"] == "lifespan"
        await receive()
        await send({"type": "lifespan.startup.complete"})
        asyncio.get_running_loop().call_later(0.5, publish_and_stop)
        await receive()
        await asyncio.to_thread(celery_middle_management.flush, app)
        await send({"type": "lifespan.shutdown.complete"})
    uvicorn.run(web, port=0, log_level="warning")
"""


def test_uvicorn_ends_without_an_exit_handler(redis_url: str) -> None:
    pytest.importorskip("uvicorn")
    with stage(redis_url, command=None) as on:
        with pytest.raises(subprocess.CalledProcessError) as ended:
            on.script(UVICORN)
        assert ended.value.returncode == -15, ended.value.stderr
        assert on.quantity == 1
