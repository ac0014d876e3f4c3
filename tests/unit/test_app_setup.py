"""Several apps in one process: each task counts once, and for the app that publishes it alone."""

from __future__ import annotations

import gc
import logging
import os
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery, chain, current_app, shared_task, signals
from celery.app.amqp import AMQP
from kombu import Exchange, Queue
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.memory import Transport

from celery_middle_management.app_setup import managed_app_of
from celery_middle_management.core.batch import Batch
from celery_middle_management.late_import import LateImport
from celery_middle_management.reporting import publisher

ENABLED: dict[str, Any] = {
    "middle_management_enabled": True,
    "middle_management_max_workers": 5,
    "middle_management_heroku_app": "myapp",
    "middle_management_heroku_api_key": "no-such-key",
    "middle_management_off_platform": True,
}


@pytest.fixture(autouse=True)
def starts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Leaves what is recorded for the tests to read; holds one item for each start of an agent."""
    times: list[int] = []
    monkeypatch.setattr(publisher.PublisherAgent, "published", lambda _: times.append(1))
    return times


@pytest.fixture(autouse=True)
def _no_current_app() -> Iterator[None]:
    """A test's apps are not left behind as the current one."""
    before = current_app._get_current_object()
    yield
    before.set_current()


@pytest.fixture
def make(redis_url: str) -> Callable[..., Celery]:
    """Makes an app, managed unless *managed* is False."""

    def make(name: str = "ours", *, managed: bool = True, **options: Any) -> Celery:
        conf = {**(ENABLED if managed else {}), "task_ignore_result": True}
        conf.update(options.pop("conf", {}))
        app = Celery(name, broker=redis_url, set_as_current=False, **options)
        app.conf.update(conf)

        @app.task(name="work", shared=False)
        def work() -> None:
            """Nothing."""

        return app

    return make


def published(*apps: Celery) -> dict[str, int]:
    """Tasks recorded as published by these apps since the last time, by queue."""
    batch = Batch()
    for found in map(managed_app_of, apps):
        assert found is not None
        found._tally.drain(batch)
    return {queue: sum(slots.values()) for queue, slots in batch.published.items()}


# -- whose message it is


def test_another_apps_tasks_are_not_counted(make: Callable[..., Celery], starts: list[int]) -> None:
    ours, theirs = make(), make("theirs", managed=False)
    ours.finalize()
    theirs.finalize()
    theirs.tasks["work"].delay()
    theirs.tasks["work"].apply_async(queue="pdf")
    theirs.send_task("work")
    assert not starts
    assert published(ours) == {}
    ours.tasks["work"].delay()
    assert published(ours) == {"celery": 1}


def test_however_a_task_is_published_it_counts(make: Callable[..., Celery]) -> None:
    ours = make()
    ours.finalize()
    work = ours.tasks["work"]
    work.delay()
    work.apply_async(reply_to="elsewhere")
    work.apply_async(headers={"tenant": "t"})
    work.apply_async(headers=[("tenant", "t")])
    work.si().set(queue="pdf").apply_async()
    chain(work.si(), work.si(), app=ours).apply_async()
    ours.send_task("work")
    ours.send_task("not.registered", queue="pdf", reply_to="elsewhere")
    with ours.connection_for_write() as connection:
        work.apply_async(connection=connection)
    message = ours.amqp.create_task_message("1", "work")
    with ours.producer_pool.acquire() as producer:
        ours.amqp.send_task_message(producer, "work", message)
    assert published(ours) == {"celery": 8, "pdf": 2}


@pytest.mark.parametrize("protocol", [1, 2])
def test_a_retry_counts_for_the_app_that_retries(
    make: Callable[..., Celery], protocol: int
) -> None:
    """A retry passes on the headers of an earlier message, whichever app published it."""
    apps = [make(name, conf={"task_protocol": protocol}) for name in ("ours", "others")]
    apps[1].conf.middle_management_heroku_app = "others"
    apps.append(make("theirs", managed=False))
    borne: dict[str, Any] = {}

    def note(headers: dict[str, Any], **_: Any) -> None:
        borne.update(headers)

    signals.after_task_publish.connect(note)
    apps[0].finalize()
    apps[0].tasks["work"].delay()
    assert published(apps[0]) == {"celery": 1}
    for app in apps:
        app.finalize()
        handed_on = {**borne}
        borne.clear()
        task = app.tasks["work"]
        task.push_request(
            **handed_on, headers=handed_on, called_directly=False, reply_to="elsewhere"
        )
        task.signature_from_request(args=(), kwargs={}, queue="pdf").apply_async()
        task.pop_request()
    assert published(apps[0]) == {"pdf": 1}
    assert published(apps[1]) == {"pdf": 1}
    assert not {"mm_queue", "mm_app"} & {*borne}, "an app that is not managed stamps nothing"


def test_apps_that_publish_at_once_are_told_apart(make: Callable[..., Celery]) -> None:
    ours = [make(str(n)) for n in range(2)]
    ours[1].conf.middle_management_heroku_app = "others"
    theirs = make("theirs", managed=False)
    start = threading.Barrier(6)

    def publish(app: Celery) -> None:
        start.wait()
        for _ in range(50):
            app.send_task("work")

    threads = [threading.Thread(target=publish, args=(a,)) for a in [*ours, theirs] for _ in "12"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [published(app) for app in ours] == 2 * [{"celery": 100}]


def test_a_receiver_that_publishes_another_apps_task_confuses_no_other(
    make: Callable[..., Celery],
) -> None:
    ours, theirs = make(), make("theirs", managed=False)
    ours.finalize()

    def audit(sender: str, **_: Any) -> None:
        if sender == "work":
            theirs.send_task("audit")

    for signal in (signals.before_task_publish, signals.after_task_publish):
        signal.connect(audit)
        ours.send_task("work")
        signal.disconnect(audit)
    assert published(ours) == {"celery": 2}


def test_an_app_that_is_made_twice_counts_each_task_once(make: Callable[..., Celery]) -> None:
    first, second = make(), make()
    for app in (first, second):
        app.finalize()
    first.send_task("work")
    second.send_task("work")
    assert published(first, second) == {"celery": 2}


def test_the_current_app_is_the_one_behind_it(make: Callable[..., Celery]) -> None:
    ours = make()
    ours.set_current()
    assert managed_app_of(current_app) is managed_app_of(ours)
    current_app.send_task("work")
    assert published(ours) == {"celery": 1}


class Overriding(AMQP):
    """Wraps Celery's sender, and exchanges the headers."""

    def _create_task_sender(self) -> Any:
        send = super()._create_task_sender()  # type: ignore[misc]

        def send_task_message(producer: Any, name: str, message: Any, **options: Any) -> Any:
            message = message._replace(headers={**message.headers, "tenant": "t"})
            return send(producer, name, message, **options)

        return send_task_message


class Chaining(AMQP):
    """Defines a method where Celery has a property."""

    def send_task_message(self, producer: Any, name: str, message: Any, **options: Any) -> Any:
        return super().send_task_message(producer, name, message, **options)


class Sending:
    """Is no AMQP of Celery's, and sends by itself."""

    def __init__(self, app: Celery) -> None:
        self._amqp = AMQP(app)

    def __getattr__(self, name: str) -> Any:
        if name == "_create_task_sender":
            raise AttributeError(name)
        return getattr(self._amqp, name)

    def send_task_message(self, producer: Any, name: str, message: Any, **options: Any) -> Any:
        return self._amqp.send_task_message(producer, name, message, **options)


@pytest.mark.parametrize("amqp", [Overriding, Chaining, Sending])
@pytest.mark.parametrize("sooner", [False, True])
def test_an_amqp_of_the_apps_own(make: Callable[..., Celery], amqp: type, sooner: bool) -> None:
    ours, theirs = make(amqp=amqp), make("theirs", managed=False, amqp=amqp)
    if sooner:
        assert callable(ours.amqp.send_task_message)
    ours.finalize()
    for app in (ours, theirs):
        app.tasks["work"].delay()
        app.tasks["work"].delay()
    assert published(ours) == {"celery": 2}


def test_the_sender_is_made_no_sooner_than_without_us(make: Callable[..., Celery]) -> None:
    ours = make()
    ours.finalize()
    ours.conf.task_queues = [Queue("other", Exchange("other"), routing_key="other")]
    ours.conf.task_default_queue = "other"
    ours.send_task("work")
    assert published(ours) == {"other": 1}


@pytest.mark.parametrize("amqp", [None, Overriding, f"{__name__}:Overriding"])
def test_an_amqp_is_made_no_sooner_than_without_us(
    make: Callable[..., Celery], amqp: type | str | None
) -> None:
    ours, theirs = make(amqp=amqp), make("theirs", managed=False, amqp=amqp)
    ours.finalize()
    assert "amqp" not in vars(ours)
    assert type(ours.amqp) is type(theirs.amqp)
    ours.send_task("work")
    assert published(ours) == {"celery": 1}


@pytest.mark.parametrize("amqp", [None, Overriding])
def test_an_app_can_be_pickled(make: Callable[..., Celery], amqp: type | None) -> None:
    """As for a child that is spawned; its copy makes the same amqp, and is set up by itself."""
    ours = make(amqp=amqp)
    ours.finalize()
    copy = pickle.loads(pickle.dumps(ours))
    assert copy.amqp_cls == make(amqp=amqp).amqp_cls
    assert type(copy.amqp) is (amqp or AMQP)


# -- where it goes


def test_tasks_routed_by_exchange_and_routing_key_count(
    make: Callable[..., Celery], starts: list[int]
) -> None:
    media, news = Exchange("media", type="direct"), Exchange("news", type="topic")
    ours = make(
        conf={
            "task_queues": [
                Queue("video", media, routing_key="media.video"),
                Queue("sport", news, routing_key="news.sport.#"),
                Queue("all-news", news, routing_key="news.#"),
            ],
            "task_routes": [
                lambda name, *_, **__: {
                    "video": {"exchange": "media", "routing_key": "media.video"},
                    "news": {"exchange": news, "routing_key": "news.sport.x"},
                    "lost": {"exchange": "media", "routing_key": "media.lost"},
                }.get(name)
            ],
        }
    )
    ours.send_task("video")
    assert published(ours) == {"video": 1}
    ours.send_task("news")
    assert published(ours) == {"sport": 1, "all-news": 1}
    assert len(starts) == 2
    ours.send_task("lost")
    assert len(starts) == 3, "only the broker knows where it goes, so the queues have to be counted"
    found = managed_app_of(ours)
    batch = Batch()
    assert found is not None
    found._tally.drain(batch)
    assert batch.unplaced
    assert not batch.published


def test_a_worker_whose_imports_fail_still_takes_its_childrens_records(
    make: Callable[..., Celery], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = managed_app_of(make())
    assert found is not None

    def fail() -> None:
        raise ImportError("no heroku3")

    monkeypatch.setattr(found._services, "late_import", LateImport(fail))
    with pytest.raises(ImportError):
        found.worker.init()
    assert found._tally.shared


class Elsewhere(Transport):
    """A broker of an unknown kind."""

    driver_type = "elsewhere"


def test_a_broker_that_may_not_be_countable_is_logged_at_its_first_use(
    make: Callable[..., Celery], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRANSPORT_ALIASES, "elsewhere", f"{__name__}:Elsewhere")
    ours = make(conf={"middle_management_redis_url": "redis://localhost:1"})
    ours.conf.broker_url = "elsewhere://"
    for _ in range(2):
        ours.send_task("work")
    [said] = [r.getMessage() for r in caplog.records if "middle_management" in r.name]
    assert "the broker of the app 'ours', elsewhere, is neither Redis nor RabbitMQ" in said


# -- apps that are not managed, or not ready


def test_an_app_that_is_never_finalized_counts_from_its_first_message(
    make: Callable[..., Celery],
) -> None:
    ours = make()
    for _ in range(3):
        ours.send_task("work")
    assert not ours.finalized
    assert published(ours) == {"celery": 3}


def test_publishing_finalizes_and_configures_no_other_app(
    make: Callable[..., Celery], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Celery("broken", set_as_current=False)
    broken.config_from_object("no.such.module")
    idle, theirs = make("idle"), make("theirs", managed=False)
    theirs.send_task("work")
    for app in (broken, idle, theirs):
        assert not app.finalized
    for app in (broken, idle):
        assert not app.configured

    @shared_task
    def works_with_a_broken_app_around() -> None:
        """Adding it finalizes nothing; without us, neither."""


def test_wrong_settings_are_logged_once_and_break_no_publishing(
    make: Callable[..., Celery], caplog: pytest.LogCaptureFixture
) -> None:
    wrong = make("wrong", conf={"middle_management_max_workers": -1})
    theirs = make("theirs", managed=False)
    with caplog.at_level(logging.INFO):
        for app in 2 * (theirs, wrong):
            app.send_task("work")
    said = [record for record in caplog.records if "middle_management" in record.name]
    assert len(said) == 1
    assert "'wrong'" in said[0].getMessage()
    assert "max_workers" in said[0].getMessage()
    assert len(caplog.records) == 1


# -- how long they live


@pytest.mark.parametrize("managed", [False, True])
@pytest.mark.parametrize("use", ["none", "finalize", "publish"])
def test_apps_are_freed(make: Callable[..., Celery], managed: bool, use: str) -> None:
    apps = []
    for _ in range(300 if use != "publish" else 20):
        app = make(managed=managed)
        if use == "finalize":
            app.finalize()
        elif use == "publish":
            app.send_task("work")
        apps.append(weakref.ref(app))
    del app
    gc.collect()
    gc.collect()
    assert sum(ref() is not None for ref in apps) == 0


def test_a_fork_after_apps_have_gone(make: Callable[..., Celery]) -> None:
    make().finalize()
    ours = make()
    ours.send_task("work")
    gc.collect()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if published(ours) == {} else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert published(ours) == {"celery": 1}


# -- brokers that no other process can see


@pytest.mark.parametrize(
    ("url", "platform", "seen"),
    [
        ("memory://", "heroku", False),
        ("memory://", "local", False),
        ("filesystem://", "heroku", False),
        ("filesystem://", "local", True),
        ("redis://localhost:1", "heroku", True),
    ],
)
def test_no_worker_is_hired_for_tasks_that_it_cannot_see(  # noqa: PLR0917
    make: Callable[..., Celery],
    starts: list[int],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Any,
    url: str,
    platform: str,
    seen: bool,
) -> None:
    ours = make(conf={"middle_management_platform": platform})
    ours.finalize()
    # As tests do it, with an app that is set up already.
    ours.conf.broker_url = url
    ours.conf.middle_management_redis_url = "redis://localhost:1"
    folders = ("data_folder_in", "data_folder_out", "control_folder")
    ours.conf.broker_transport_options = dict.fromkeys(folders, str(tmp_path))
    found = managed_app_of(ours)
    assert found is not None
    if not url.startswith("redis"):
        for _ in range(2):
            ours.send_task("work")
            ours.send_task("work", exchange="other", routing_key="x", exchange_type="topic")
        assert bool(starts) is seen
        assert bool(published(ours)) is seen
    assert found.in_reach is seen
    if not seen:
        # A worker of such an app would find nothing to do, and fire all others.
        assert found.worker.make_agent(None) is None
    assert len([r for r in caplog.records if "hired" in r.getMessage()]) == (not seen)
