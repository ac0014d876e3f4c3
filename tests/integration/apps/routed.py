"""The everyday app, with queues bound to exchanges of every kind."""

from __future__ import annotations

from kombu import Exchange, Queue

from .everyday import app, work

__all__ = ["app", "work"]

MEDIA, NEWS = Exchange("media", type="direct"), Exchange("news", type="topic")
ALL = Exchange("all", type="fanout")

app.conf.update(
    task_queues=[
        Queue("video", MEDIA, routing_key="media.video"),
        Queue("sport", NEWS, routing_key="news.sport.#"),
        Queue("one", ALL),
        Queue("two", ALL),
    ],
    task_default_queue="video",
    task_routes={"to-video": {"exchange": "media", "routing_key": "media.video"}},
)
