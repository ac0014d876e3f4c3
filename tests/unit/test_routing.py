"""Where the broker routes a message, by what the app declares."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from celery import Celery
from kombu import Exchange, Queue, binding
from kombu.common import Broadcast

from celery_middle_management.counting.routing import Routes, topic_matches

MEDIA = Exchange("media", type="direct")
NEWS = Exchange("news", type="topic")
ALL = Exchange("all", type="fanout")
ODD = Exchange("odd", type="headers")


def routes(queues: Iterable[Queue], fanout_waits: bool = True) -> Routes:
    declared = {queue.name: queue for queue in queues}
    return Routes(lambda: declared, fanout_waits=lambda: fanout_waits)


DECLARED = (
    Queue("video", MEDIA, routing_key="media.video"),
    Queue("image", MEDIA, routing_key="media.image"),
    Queue("sport", NEWS, routing_key="news.sport.#"),
    Queue("daily", NEWS, routing_key="news.*.daily"),
    Queue("one", ALL),
    Queue("two", ALL),
    Queue("many", [binding(MEDIA, "media.image"), binding(NEWS, "sport")]),
    Queue("odd", ODD, routing_key="odd"),
    Broadcast("all"),
    Queue("plain"),
)


@pytest.mark.parametrize(
    ("exchange", "routing_key", "queues"),
    [
        ("", "pdf", ["pdf"]),
        (None, "pdf", ["pdf"]),
        (None, None, []),
        ("", None, []),
        ("media", "media.video", ["video"]),
        (MEDIA, "media.image", ["image", "many"]),
        ("media", "media.sound", []),
        ("media", None, []),
        ("news", "news.sport", ["sport"]),
        ("news", "news.sport.daily", ["sport", "daily"]),
        ("news", "news.art.daily", ["daily"]),
        ("news", "sport", ["many"]),
        ("news", "news.art.weekly", []),
        ("all", "whatever", ["one", "two"]),
        ("all", None, ["one", "two"]),
        ("odd", "odd", []),
        ("the broker's", "pdf", []),
    ],
)
def test_the_queues_of_a_message(exchange: Any, routing_key: str | None, queues: list[str]) -> None:
    assert list(routes(DECLARED).queues_of(exchange, routing_key)) == queues


def test_what_the_publisher_declares_counts_as_it_is_bound() -> None:
    nothing = routes(())
    own = Queue("own", NEWS, routing_key="own.*")
    assert nothing.queues_of("news", "own.x", [NEWS, own]) == ("own",)
    assert nothing.queues_of("news", "other.x", [own]) == ()
    assert nothing.queues_of("media", "own.x", [own]) == ()
    assert routes(DECLARED).queues_of("media", "media.video", [DECLARED[0]]) == ("video",)


def test_what_only_connected_consumers_get_waits_in_no_queue() -> None:
    """Redis sends fanout messages to connected consumers only: hiring a worker would not help."""
    routing = routes(DECLARED, fanout_waits=False)
    assert routing.queues_of("all", "whatever") == ()
    assert routing.queues_of("media", "media.video") == ("video",)


def test_queues_declared_later_are_known() -> None:
    app = Celery("later", set_as_current=False)
    routing = Routes(lambda: app.amqp.queues, fanout_waits=lambda: True)
    assert routing.queues_of("media", "media.video") == ()
    app.amqp.queues.add(DECLARED[0])
    assert routing.queues_of("media", "media.video") == ("video",)
    app.amqp.queues = {}
    app.amqp.queues.add(DECLARED[1])
    assert routing.queues_of("media", "media.video") == ()
    assert routing.queues_of("media", "media.image") == ("image",)


@pytest.mark.parametrize(
    ("binding_key", "routing_key", "matches"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.b.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("a.#", "ab", False),
        ("#", "", True),
        ("#", "a.b", True),
        ("#.c", "c", True),
        ("#.c", "a.b.c", True),
        ("a.#.c", "a.c", True),
        ("*.#.c", "c", False),
        ("a+b", "a+b", True),
        ("a+b", "aab", False),
        ("", "", True),
        ("*", "", True),
        ("", "a", False),
    ],
)
def test_topic_bindings(binding_key: str, routing_key: str, matches: bool) -> None:
    assert topic_matches(binding_key, routing_key) is matches
