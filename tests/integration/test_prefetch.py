"""A worker does what one without the package does, but does not prefetch while tasks are long."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.integration.scenes import (
    A_WHILE,
    CONSUMES_QUORUM_QUEUES,
    RELEASE,
    Program,
    Scene,
    scene,
)
from tests.integration.stage import ALONE, WORKER
from tests.rabbitmq_server import RabbitServer
from tests.servers import Worker, start_worker

MARK = pytest.mark
#: Celery's default.
PREFETCH = ("--prefetch-multiplier", "4")
POOLS = ["prefork", "threads", "solo", "gevent", "eventlet"]
#: The others are left to the slow tests.
FEW_QUICKLY = [pool if pool == "prefork" else pytest.param(pool, marks=MARK.slow) for pool in POOLS]
CONCURRENT = [pool for pool in POOLS if pool != "solo"]
#: Only the pools of processes and of threads among the tests that are run most often.
CONCURRENT_QUICKLY = [
    pytest.param(pool, marks=MARK.slow) if pool in ("gevent", "eventlet") else pool
    for pool in CONCURRENT
]
#: The arguments of the queues.
ON_RABBITMQ: dict[str, dict[str, object]] = {"classic": {}, "quorum": {"x-queue-type": "quorum"}}


class Bench:
    """A scene with one worker, and one broker among others."""

    def __init__(self, played: Scene, queue: str) -> None:
        self.scene = played
        self.queue = queue
        self.wait = played.wait
        self.publisher: Program = played.program()

    def publish(self, code: str) -> list[str]:
        """Run *code*, which makes the list ``result`` of what was published; return the ids."""
        ids: list[str] = self.publisher.say(f"{code}\nresult = [sent.id for sent in result]")
        return ids

    def publish_some(self, count: int, task: str, *args: object, **options: object) -> list[str]:
        return self.publish(
            f"result = [{task}.apply_async({args}, **{options}) for _ in range({count})]"
        )

    def ended(self) -> set[str]:
        return {run.task for run in self.scene.journal.runs() if run.end is not None}

    def begun(self) -> list[str]:
        """The tasks, in the order in which they began."""
        return [run.task for run in self.scene.journal.runs()]

    def show_that_tasks_are_short(self) -> None:
        """Have so many tasks done that the worker prefetches as many as Celery is configured to."""
        short = self.publish_some(60, "note")
        self.wait(lambda: {*short} <= self.ended())
        time.sleep(0.5)

    def assert_each_ran_once(self, tasks: list[str]) -> None:
        assert sorted(self.begun()) == sorted(tasks)
        assert not [run for run in self.scene.journal.runs() if run.redelivered]


@pytest.fixture(
    params=["redis", *(pytest.param(b, marks=(MARK.rabbitmq, MARK.slow)) for b in ON_RABBITMQ)]
)
def broker(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def bench(broker: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with bench_on(broker, request, tmp_path) as it:
        yield it


@contextmanager
def bench_on(
    broker: str,
    request: pytest.FixtureRequest,
    directory: Path,
    arguments: Mapping[str, object] | None = None,
) -> Iterator[Bench]:
    """A bench on that *broker*; *arguments* are added to those of its queue."""
    if broker == "quorum" and not CONSUMES_QUORUM_QUEUES:
        pytest.skip("Celery cannot consume quorum queues")
    queue = "celery" if broker == "redis" else f"{directory.parent.name}-{directory.name}"
    env = {"TASK_QUEUE": queue}
    if broker != "redis":
        env["QUEUE_ARGUMENTS"] = json.dumps({**ON_RABBITMQ[broker], **(arguments or {})})
    url = None if broker == "redis" else request.getfixturevalue("rabbitmq").url
    with scene(directory, broker_url=url, env=env, **ALONE) as played:
        yield Bench(played, queue)


def worker_of(it: Bench, pool: str, slots: int, *arguments: str) -> AbstractContextManager[Worker]:
    options = ("-P", pool, "-c", str(slots), *PREFETCH, *arguments)
    return it.scene.on.worker(*options, DYNO="worker.1")


@pytest.mark.parametrize("pool", CONCURRENT_QUICKLY)
def test_every_slot_works(pool: str, bench: Bench) -> None:
    slots = 3 if pool == "prefork" else 20
    with worker_of(bench, pool, slots):
        tasks = bench.publish_some(slots + 4, "hold_early")
        bench.wait(lambda: len(bench.scene.running) == slots)
        for _ in tasks:
            bench.scene.let_go("worker.1")
        bench.assert_each_ran_once(tasks)


@pytest.mark.parametrize("pool", CONCURRENT_QUICKLY)
def test_short_tasks_pass_the_long_ones_by(pool: str, bench: Bench) -> None:
    with worker_of(bench, pool, 4):
        bench.show_that_tasks_are_short()
        bench.publish_some(3, "hold")
        bench.wait(lambda: len(bench.scene.running) == 3)
        short = bench.publish_some(60, "note")
        bench.wait(lambda: {*short} <= bench.ended())
        assert len(bench.scene.running) == 3
        for _ in range(3):
            bench.scene.let_go("worker.1")


@pytest.mark.parametrize("pool", CONCURRENT_QUICKLY[1:])
def test_a_task_that_exits_frees_its_slot(pool: str, bench: Bench) -> None:
    """Celery shows it as active for ever."""
    with worker_of(bench, pool, 2):
        bench.publish_some(3, "leave")
        tasks = bench.publish_some(4, "note", 1.1)
        bench.wait(lambda: {*tasks} <= bench.ended())
        bench.wait(lambda: not bench.scene.presence("worker.1")["busy"])


@MARK.slow
@MARK.rabbitmq
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_no_task_waits_for_the_scheduled_ones_before_it(
    pool: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Each of those raises the prefetch count, which the broker has to confirm."""
    with bench_on("classic", request, tmp_path) as it, worker_of(it, pool, 1):
        long = it.publish_some(1, "note", 1.5)
        it.wait(lambda: {*long} <= it.ended())
        it.publish_some(300, "note", countdown=600)
        short = it.publish_some(3, "note")
        it.wait(lambda: {*short} <= it.ended())


def test_nothing_that_cannot_begin_is_taken(tmp_path: Path) -> None:
    """Except one for each slot if the broker pushes tasks that are acknowledged before they run."""
    with scene(tmp_path, command=(*WORKER, *PREFETCH)) as it:
        nothing_that_cannot_begin_is_taken(it, "hold_early")


@pytest.mark.rabbitmq
def test_nothing_that_cannot_begin_is_pushed(tmp_path: Path, rabbitmq: RabbitServer) -> None:
    env = {"TASK_QUEUE": "pushed-hold"}
    with scene(tmp_path, broker_url=rabbitmq.url, env=env, command=(*WORKER, *PREFETCH)) as it:
        nothing_that_cannot_begin_is_taken(it, "hold")


def nothing_that_cannot_begin_is_taken(it: Scene, task: str) -> None:
    publisher = it.program()
    publisher.say(f"for _ in range(3): {task}.delay()")
    # One for each worker, whichever was up first.
    it.wait_at_work("worker.1", "worker.2", "worker.3")
    publisher.say("for _ in range(3): note.delay()")
    it.let_go("worker.1", "worker.2", "worker.3")
    it.wait(lambda: len([run for run in it.journal.runs() if run.end]) == 6)
    it.assert_no_worker_was_killed()


@pytest.mark.slow
@pytest.mark.parametrize("pool", CONCURRENT)
def test_a_full_worker_takes_no_more(
    pool: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with bench_on("redis", request, tmp_path) as it, worker_of(it, pool, 2):
        it.publish_some(2, "hold_early")
        it.wait(lambda: len(it.scene.running) == 2)
        it.publish_some(5, "note")
        time.sleep(A_WHILE)
        assert it.scene.redis.llen("celery") == 5
        for _ in range(2):
            it.scene.let_go("worker.1")
        it.wait(lambda: len(it.ended()) == 7)


@pytest.mark.slow
@pytest.mark.parametrize("pool", CONCURRENT)
def test_a_busy_worker_takes_no_more_after_a_lost_connection(
    pool: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """With it, Celery before 5.7 forgets what it runs."""
    if pool == "prefork" and RELEASE < (5, 7):
        pytest.skip("nothing tells what the processes of Celery before 5.7 run then")
    with bench_on("redis", request, tmp_path) as it, worker_of(it, pool, 2) as worker:
        it.publish_some(2, "hold_early")
        it.wait(lambda: len(it.scene.running) == 2)
        # Not by a restart: after failed attempts to connect, kombu before 5.7 may never read again.
        it.scene.redis.client_kill_filter(_type="normal")
        it.wait(lambda: worker.log.count("Connected to redis") == 2)
        waiting = it.publish_some(3, "note")
        time.sleep(A_WHILE)
        queued = it.scene.redis.lrange("celery", 0, -1)
        assert {*waiting} <= {json.loads(message)["headers"]["id"] for message in queued}
        for _ in range(2):
            it.scene.let_go("worker.1")
        it.scene.journal.let_go("worker.1")  # one whose acknowledgement was lost may run again
        it.wait(lambda: {*waiting} <= it.ended())


@pytest.mark.slow
def test_queues_take_turns(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with bench_on("redis", request, tmp_path) as it:
        first, second = (it.publish_some(14, "note", 0.05, queue=queue) for queue in "az")
        with worker_of(it, "prefork", 1, "-Q", "a,z"):
            it.wait(lambda: len(it.ended()) == 28)
        turns = ["a" if task in first else "z" for task in it.begun()]
        assert turns in (["a", "z"] * 14, ["z", "a"] * 14)
        assert [task for task in it.begun() if task in second] == second


#: Short and long, early and late, now and later, of two queues, and rate-limited; 69 tasks.
MIXED = """
result = []
for i in range(6):
    result += [note.delay() for _ in range(8)]
    result.append(note.apply_async((0.3,), queue=other))
    result.append((note_late if i % 2 else note).apply_async((0.0,), queue=other))
    if i % 3 == 0: result.append(note_late.delay(1.5))
    if i % 3 == 1: result.append(note.apply_async((1.2,), countdown=1))
    if i % 3 == 2: result.append(note_rarely.delay())
    if i % 5 == 0: result.append(note.apply_async(countdown=2))
    if i % 5 == 1: result.append(note.apply_async((0.1,), queue=other, countdown=0.5))
"""


@pytest.mark.slow
@pytest.mark.parametrize("pool", FEW_QUICKLY)
def test_a_mixed_load_runs_once_and_to_its_end(pool: str, bench: Bench) -> None:
    other = f"other-{bench.queue}"
    with worker_of(bench, pool, 2, "-Q", f"{bench.queue},{other}"):
        tasks = bench.publish(f"other = {other!r}\n{MIXED}")
        bench.wait(lambda: len(bench.ended()) == len(tasks))
        bench.wait(lambda: bench.scene.presence("worker.1")["busy"] == 0)
    bench.assert_each_ran_once(tasks)


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.rabbitmq
@pytest.mark.parametrize(("queue", "limit"), [("classic", None), ("quorum", 0), ("quorum", 1)])
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_order_and_deliveries_are_left_alone(
    queue: str, limit: int | None, pool: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Over all changes from short tasks to long ones and back."""
    arguments = {} if limit is None else {"x-delivery-limit": limit}
    with bench_on(queue, request, tmp_path, arguments) as it, worker_of(it, pool, 1):
        tasks = []
        for _ in range(2):
            tasks += it.publish_some(120, "note", 0.005)
            tasks += it.publish_some(3, "note", 1.3)
        it.wait(lambda: len(it.ended()) == len(tasks), 110.0)
        it.assert_each_ran_once(tasks)
        assert it.begun() == tasks


@pytest.mark.slow
def test_a_broker_that_closes_idle_connections_does_not_have_a_long_task_run_twice(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with bench_on("redis", request, tmp_path) as it:
        it.scene.redis.config_set("timeout", 2)
        with worker_of(it, "prefork", 1) as worker:
            tasks = it.publish_some(1, "note_late", 6)
            it.wait(lambda: len(it.ended()) == 1)
            tasks += it.publish_some(1, "note")
            it.wait(lambda: len(it.ended()) == 2)
            assert "Connection to broker lost" not in worker.log
        it.assert_each_ran_once(tasks)


@pytest.mark.slow
@pytest.mark.parametrize("pool", CONCURRENT)
def test_a_broker_that_is_silent_for_a_while_does_not_have_tasks_run_twice(
    pool: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with bench_on("redis", request, tmp_path) as it, worker_of(it, pool, 2) as worker:
        tasks = it.publish_some(2, "hold")
        it.wait(lambda: len(it.scene.running) == 2)
        time.sleep(2.0)
        it.scene.broker.pause()
        try:
            time.sleep(8.0)
        finally:
            it.scene.broker.resume()
        tasks += it.publish_some(1, "note")
        time.sleep(A_WHILE)
        for _ in range(2):
            it.scene.let_go("worker.1")
        it.wait(lambda: {*tasks} <= it.ended())
        assert "Connection to broker lost" not in worker.log
        it.assert_each_ran_once(tasks)


@pytest.mark.rabbitmq
def test_a_task_that_gathers_messages_gets_as_many_as_it_asks_for(
    tmp_path: Path, rabbitmq: RabbitServer
) -> None:
    env = {"TASK_QUEUE": "gathered"}
    with scene(tmp_path, broker_url=rabbitmq.url, env=env, **ALONE) as it:
        it.program().say("for _ in range(150): app.send_task('gather')")
        with gathering_worker(it):
            it.wait(lambda: len(it.journal.runs()) == 3)
        assert [run.task for run in it.journal.runs()] == ["50", "50", "50"]


def gathering_worker(it: Scene) -> AbstractContextManager[Worker]:
    arguments = ("-c", "1", "--prefetch-multiplier", "100")
    env = {**it.on.env, "DYNO": "worker.1"}
    return start_worker("tests.integration.apps.gathering", *arguments, env=env)


@pytest.mark.rabbitmq
def test_a_queue_of_one_consumer_is_consumed_as_celery_does(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """No other worker could take what this one leaves."""
    arguments = {"x-single-active-consumer": True}
    with bench_on("classic", request, tmp_path, arguments) as it, worker_of(it, "prefork", 1):
        it.publish_some(5, "hold")
        # It runs one, which it acknowledges at its end, and keeps three more.
        it.wait(lambda: it.scene.presence("worker.1").get("busy") == 4)
        for _ in range(5):
            it.scene.let_go("worker.1")


@pytest.mark.rabbitmq
def test_a_prefetch_without_a_limit_stays_without_one(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with (
        bench_on("classic", request, tmp_path) as it,
        it.scene.on.worker("-c", "1", DYNO="worker.1", PREFETCH="0"),
    ):
        it.publish_some(12, "hold")
        it.wait(lambda: it.scene.presence("worker.1").get("busy") == 12)
        for _ in range(12):
            it.scene.let_go("worker.1")


@pytest.mark.rabbitmq
def test_a_worker_reports_that_it_is_full(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with bench_on("classic", request, tmp_path) as it, worker_of(it, "prefork", 1):
        it.wait(lambda: it.scene.presence("worker.1").get("full") is False)
        it.publish_some(1, "hold")
        it.wait(lambda: it.scene.presence("worker.1")["full"] is True)
        it.scene.let_go("worker.1")
        it.wait(lambda: it.scene.presence("worker.1")["full"] is False)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.rabbitmq
@pytest.mark.xdist_group("a RabbitMQ of its own")
@pytest.mark.parametrize("pool", CONCURRENT)
def test_all_slots_work_after_a_broker_has_restarted(pool: str, tmp_path: Path) -> None:
    """Celery lowers the prefetch count then, and raises it as tasks end that began before.

    Without the package, it does so in any thread, and pools of threads hang. With or without, they
    also may when Celery closes the connection for its events while a heartbeat is sent over it.
    """
    env = {"TASK_QUEUE": "restarted"}
    arguments = ("-P", pool, "-c", "8", "--without-heartbeat", *PREFETCH)
    with (
        RabbitServer() as broker,
        scene(tmp_path, broker_url=broker.url, env=env, **ALONE) as it,
        it.on.worker(*arguments, DYNO="worker.1", **env),
    ):
        for tasks in (24, 48):
            it.program().say("for n in range(16): note.delay(0.2 + n * 1.7 % 5)")
            it.wait(lambda: len(it.running) == 7)
            broker.restart()
            it.program().say("for _ in range(8): note.delay(0.5)")
            # What was taken and not begun comes twice, as it does without the package.
            it.wait(lambda n=tasks: len({r.task for r in it.journal.runs() if r.end}) == n)  # type: ignore[misc]
        it.program().say("for _ in range(8): hold_early.delay()")
        it.wait(lambda: len(it.running) == 8)
        for _ in range(8):
            it.let_go("worker.1")
