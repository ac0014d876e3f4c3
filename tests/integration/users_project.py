"""A Django project and a Flask app as users have them, with tests of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

#: On Heroku a setting is missing: the key.
PROJECT = {
    "proj/__init__.py": "from .celery import app\n__all__ = ['app']\n",
    "proj/celery.py": """
        import os
        from celery import Celery, shared_task

        if "WITHOUT" not in os.environ:
            import celery_middle_management

        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")
        app = Celery("proj")
        app.config_from_object("django.conf:settings", namespace="CELERY")

        @app.task
        def one(): return 1

        @app.task
        def two(): return 2

        @shared_task
        def three(): return 3
    """,
    "proj/settings.py": """
        import os
        SECRET_KEY = "x"
        DEBUG = True
        INSTALLED_APPS = ["django.contrib.staticfiles", "proj"]
        STATIC_URL, STATIC_ROOT = "static/", "collected"
        DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
        CELERY_BROKER_URL = os.environ["BROKER_URL"]
        CELERY_TASK_ALWAYS_EAGER = bool(os.environ.get("EAGER"))
        CELERY_MIDDLE_MANAGEMENT_ENABLED = True
        CELERY_MIDDLE_MANAGEMENT_MAX_WORKERS = 3
        CELERY_MIDDLE_MANAGEMENT_HEROKU_APP = "myapp"
        CELERY_MIDDLE_MANAGEMENT_REDIS_URL = os.environ["REDIS"]
    """,
    "proj/tests.py": """
        from django.test import TestCase
        from celery.contrib.testing.worker import start_worker
        from proj.celery import app, one, two, three

        class Tasks(TestCase):
            def test_tasks(self):
                if app.conf.task_always_eager:
                    assert [one.delay().get(), two.delay().get(), three.delay().get()] == [1, 2, 3]
                else:
                    app.conf.result_backend = "cache+memory://"
                    with start_worker(app, perform_ping_check=False):
                        assert one.delay().get(timeout=60) == 1
    """,
    "proj/static/style.css": "",
    "test_proj.py": """
        from celery.contrib.testing.worker import start_worker
        from proj.celery import app, one, two, three

        app.conf.result_backend = "cache+memory://"

        def test_tasks():
            if app.conf.task_always_eager:
                assert [one.delay().get(), two.delay().get(), three.delay().get()] == [1, 2, 3]
                return
            with start_worker(app, perform_ping_check=False):
                assert one.delay().get(timeout=60) == 1
    """,
    "flask_tests.py": """
        import os
        import unittest
        from celery import Celery, Task, shared_task
        from celery.contrib.testing.worker import start_worker
        from flask import Flask
        import celery_middle_management

        @shared_task
        def add(x, y): return x + y

        def create_app(eager):
            app = Flask("proj")

            class FlaskTask(Task):
                def __call__(self, *args, **kwargs):
                    with app.app_context():
                        return self.run(*args, **kwargs)

            celery_app = Celery(app.name, task_cls=FlaskTask)
            celery_app.conf.update(
                broker_url=os.environ["BROKER_URL"],
                result_backend="cache+memory://",
                task_always_eager=eager,
                middle_management_enabled=True,
                middle_management_max_workers=3,
                middle_management_heroku_app="myapp",
                middle_management_redis_url=os.environ["REDIS"],
            )
            celery_app.set_default()
            app.extensions["celery"] = celery_app

            @app.get("/")
            def index():
                return {"sum": add.delay(1, 2).get(timeout=60)}

            return app

        class Tasks(unittest.TestCase):
            def test_page(self):
                for eager in {True, "EAGER" in os.environ}:
                    app = create_app(eager)
                    if eager:
                        self.assertEqual(app.test_client().get("/").json, {"sum": 3})
                        continue
                    with start_worker(app.extensions["celery"], perform_ping_check=False):
                        self.assertEqual(app.test_client().get("/").json, {"sum": 3})

        unittest.main()
    """,
    "manage.py": """
        import os, sys
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")
        from django.core.management import execute_from_command_line
        execute_from_command_line(sys.argv)
    """,
}


class Project:
    """Both, in a directory of their own, and the environment of a web dyno."""

    def __init__(self, directory: Path, redis_url: str) -> None:
        self.directory = directory
        for name, text in PROJECT.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        ours = ("MIDDLE_MANAGEMENT_", "HEROKU_", "CELERY_", "DJANGO_")
        self.env = {n: v for n, v in os.environ.items() if not n.startswith(ours) and n != "DYNO"}
        # Elsewhere no key is needed.
        self.env |= {"BROKER_URL": redis_url, "REDIS": redis_url, "DYNO": "web.1"}

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.directory,
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
