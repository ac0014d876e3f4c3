"""The examples' web apps by the servers that people run them with, and a client with cookies."""

from __future__ import annotations

import base64
import http.cookiejar
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import redis

from celery_middle_management.demo.redis_server import free_port
from celery_middle_management.platforms.local_dyno import kill_group, start_on_leash
from tests.servers import ROOT, wait_for

PANEL = "/admin/middle_management/workers/"
LIVE = f"{PANEL}live/"
PEOPLE = """
from django.contrib.auth.models import Permission, User
User.objects.create_superuser("jo", password="try-it")
for name in ("view", "change"):
    staff = User.objects.create_user(name, password="try-it", is_staff=True)
    wanted = [name] if name == "view" else ["view", name]
    names = [f"{each}_workers" for each in wanted]
    staff.user_permissions.set(Permission.objects.filter(codename__in=names))
User.objects.create_user("other", password="try-it", is_staff=True)
former = User.objects.create_user("former", password="try-it", is_staff=True)
former.user_permissions.set(Permission.objects.filter(codename="view_workers"))
"""


class Answer(NamedTuple):
    status: int
    text: str
    headers: Any
    url: str


class Browser:
    """Keeps cookies, follows redirects, and has no other cleverness."""

    def __init__(self, base: str, **headers: str) -> None:
        self.base = base
        self.headers = headers
        self.jar = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))

    def ask(self, path: str, data: bytes | None = None, **headers: str) -> Answer:
        request = urllib.request.Request(self.base + path, data, {**self.headers, **headers})
        try:
            with self._opener.open(request, timeout=60) as answer:
                text = answer.read().decode()
                return Answer(answer.status, text, answer.headers, answer.url)
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read().decode(), error.headers, error.url)

    def log_in(self, name: str) -> Browser:
        """By the form of Django's admin."""
        form = self.ask("/admin/login/").text
        [token] = re.findall(r'csrfmiddlewaretoken" value="([^"]+)', form)
        said = {"csrfmiddlewaretoken": token, "username": name, "password": "try-it"}
        self.ask("/admin/login/?next=/admin/jsi18n/", urllib.parse.urlencode(said).encode())
        return self

    def post(self, path: str, document: object) -> Answer:
        """As the page's script does."""
        tokens = {cookie.name: cookie.value or "" for cookie in self.jar}
        headers = {"Content-Type": "application/json", "X-MM-Token": tokens.get("mm-page", "")}
        return self.ask(path, json.dumps(document).encode(), **headers)


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@contextmanager
def serving(
    example: str, redis_url: str, directory: Path, *command: str, **env: str
) -> Iterator[str]:
    """Run a server in the directory of an example; yield its address."""
    port = free_port()
    log = directory / "server.log"
    arguments = [part.replace("PORT", str(port)) for part in command]
    with log.open("wb") as output:
        process = start_on_leash(
            [sys.executable, "-m", *arguments],
            output,
            {
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "REDIS_URL": redis_url,
                "TMPDIR": str(directory),
                "DATABASE": str(directory / "db.sqlite3"),
                "PAGE_PASSWORD": "try-it",
                "HOME": str(directory),
                **env,
            },
            ROOT / "examples" / example,
        )

    def up() -> bool:
        try:
            Browser(f"http://127.0.0.1:{port}").ask("/")
        except OSError:
            return False
        return True

    try:
        wait_for(up, 60.0, log.read_text)
        yield f"http://127.0.0.1:{port}"
    finally:
        kill_group(process)


def django(arguments: list[str], directory: Path, redis_url: str) -> None:
    """Run ``manage.py`` in the example."""
    env = {"REDIS_URL": redis_url, "DATABASE": str(directory / "db.sqlite3")}
    subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT / "examples" / "django",
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        check=True,
        timeout=60,
    )


GUNICORN = ("gunicorn", "proj.wsgi", "--bind", "127.0.0.1:PORT", "--threads", "3")
UVICORN = ("uvicorn", "proj.asgi:application", "--port", "PORT")


def by(redis_url: str) -> list[tuple[str, str]]:
    """What people have asked for, and who they were, the latest first."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        entries: Any = client.xrevrange("{middle-management:local}:actions")
    told = [json.loads(fields["entry"]) for _, fields in entries]
    return [(entry["action"], entry["by"]) for entry in told if "by" in entry]
