"""A Flask app, made by a factory, its Celery app, and the live page of its workers."""

from __future__ import annotations

import os
import secrets
from typing import Any

import click
from celery import Celery, Task
from flask import Flask, Response, abort, request
from tasks import resize

import celery_middle_management  # noqa: F401 - hires and fires the workers
from celery_middle_management.web import Visitor
from celery_middle_management.web.flask import blueprint


def create_app() -> Flask:
    """Make the Flask app."""
    app = Flask(__name__)
    app.config.from_mapping(
        CELERY={
            "broker_url": os.environ["REDIS_URL"],
            "broker_connection_retry_on_startup": True,
            "task_ignore_result": True,
            "worker_concurrency": 1,
            "middle_management_enabled": True,
            "middle_management_platform": "local",
            "middle_management_celery_app": "make_celery",
            "middle_management_max_workers": 3,
            "middle_management_jobs_per_worker": 2,
            "middle_management_web_actions": True,
        }
    )
    celery_app = celery_init_app(app)
    app.register_blueprint(blueprint(celery_app, visitor), url_prefix="/workers")

    @app.post("/resize/<image>")
    def publish(image: str) -> str:
        resize.delay(image)
        return "it will be resized\n"

    @app.cli.command("publish")
    @click.argument("count", type=int)
    def publish_many(count: int) -> None:
        """Publish tasks, as requests would."""
        with app.test_client() as client:
            for number in range(1, count + 1):
                client.post(f"/resize/image-{number}.png")
        click.echo(f"published {count} tasks")

    return app


def visitor(_: dict[str, Any]) -> Visitor:
    """Let in those who know the password; in your app, its own login decides."""
    known = os.environ.get("PAGE_PASSWORD")
    given = request.authorization
    if not (known and given and given.password and given.username):
        abort(Response("Log in.\n", 401, {"WWW-Authenticate": 'Basic realm="workers"'}))
    if not secrets.compare_digest(given.password.encode(), known.encode()):
        abort(Response("Log in.\n", 401, {"WWW-Authenticate": 'Basic realm="workers"'}))
    return Visitor(given.username, may_act=True)


def celery_init_app(app: Flask) -> Celery:
    """Make the Celery app of *app*, whose tasks run in its context."""

    class FlaskTask(Task):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app = Celery(app.name, task_cls=FlaskTask)
    celery_app.config_from_object(app.config["CELERY"])
    celery_app.set_default()
    app.extensions["celery"] = celery_app
    return celery_app
