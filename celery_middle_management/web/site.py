"""The addresses of the page, relative to where it is mounted."""

from __future__ import annotations

import secrets
from functools import partial
from html import escape
from typing import Any

import bottle
import redis
from celery import Celery
from celery.exceptions import ImproperlyConfigured

from celery_middle_management.app_setup import enabled_app_of
from celery_middle_management.ledger.manual_scaling import NotDone, OutcomeUnknown, QuantityUnknown
from celery_middle_management.managed_app import ManagedApp
from celery_middle_management.views.remedies import redis_failed
from celery_middle_management.web import forgery
from celery_middle_management.web.actions import ACTIONS, MOST_BYTES, BadInput, Body, read_body
from celery_middle_management.web.answers import answer, error, json_answer
from celery_middle_management.web.assets import Assets
from celery_middle_management.web.document import PATIENCE, PageData, sent
from celery_middle_management.web.page import VISITOR
from celery_middle_management.web.problem import problem_of
from celery_middle_management.web.visitor import Visitor, name_of

NOTHING = "there is nothing at this address"
_FOR_EVER = "private, max-age=31536000, immutable"


def site_of(app: Celery) -> bottle.Bottle:
    """Make the WSGI app that serves the page to visitors who may see it."""
    site, pages = bottle.Bottle(), _Site(app)
    site.route("/", "GET", pages.page)
    site.route("/data", "GET", pages.data)
    site.route("/metrics", "GET", pages.metrics)
    site.route("/static/<version>/<name>", "GET", pages.static)
    for name in ACTIONS:
        site.route(f"/{name}", "POST", partial(pages.act, name))
    site.default_error_handler = _failed
    return site


class _Site:
    """One app's page."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._ready: ManagedApp | None = None
        self._assets = Assets()
        self._data = PageData(self._managed)

    def page(self) -> bottle.HTTPResponse:
        """Send the page itself, with the token that its requests must bring."""
        environ = bottle.request.environ
        token = forgery.token_of(environ) or forgery.new_token()
        nonce = secrets.token_urlsafe(18)
        html = self._assets.template
        for name, value in {
            "token": token,
            "nonce": nonce,
            "version": self._assets.version,
            "app": str(self._app.main or "celery"),
        }.items():
            html = html.replace(f"{{{name}}}", escape(value))
        response = answer(html, "text/html; charset=utf-8", nonce=nonce)
        response.add_header("Set-Cookie", forgery.set_cookie(environ, forgery.COOKIE, token))
        return response

    def static(self, version: str, name: str) -> bottle.HTTPResponse:
        """Send one of the page's files."""
        asset = self._assets.named(name)
        if asset is None:
            return error(NOTHING, 404)
        keep = _FOR_EVER if version == self._assets.version else "no-store"
        return answer(asset.plain, asset.type, packed=asset.packed, Cache_Control=keep)

    def data(self) -> bottle.HTTPResponse:
        """Send the document: all of it, or what is new to a page that has parts of it."""
        # What is asked, before the wait: where gevent has patched Python late, Bottle's request is
        # another one afterwards.
        visitor: Visitor = bottle.request.environ[VISITOR]
        has = bottle.request.query.get("has", "")[:200].split(",")
        managed = self._managed()
        reading = self._data.get()
        problem = problem_of(reading, managed.settings, PATIENCE)
        if reading.value is None:
            return error(problem or "Redis has not answered yet", 503)
        return json_answer(
            {
                **sent(reading.value, has),
                "may_act": visitor.may_act and managed.settings.web_actions,
                "visitor": name_of(visitor),
                # How old the document is (s), and why there is no newer one.
                "age": round(reading.age, 1),
                "problem": problem,
            }
        )

    def act(self, name: str) -> bottle.HTTPResponse:
        """Do what a person asks for, if this is such a person and our page sent it."""
        environ, managed = bottle.request.environ, self._managed()
        visitor: Visitor = environ[VISITOR]
        refused = _why_not(environ, visitor, managed)
        if refused:
            return error(refused, 403)
        try:
            entry = ACTIONS[name](managed, _body(environ), name_of(visitor))
        except BadInput as failure:
            return error(str(failure), 400)
        except NotDone as failure:
            if isinstance(failure, QuantityUnknown):
                self._evaluate(managed)  # it reads how many there are
            return error(str(failure), 409)
        except (redis.RedisError, OSError) as failure:
            unknown = isinstance(failure, OutcomeUnknown)
            if unknown:
                self._evaluate(managed)
            return error(redis_failed("written", failure, managed.settings), 503, unknown=unknown)
        self._evaluate(managed)
        return json_answer(entry)

    def _evaluate(self, managed: ManagedApp) -> None:
        """Have what was asked for carried out and shown."""
        managed.have_evaluated()
        self._data.expire()

    def metrics(self) -> bottle.HTTPResponse:
        """Send the metrics for Prometheus."""
        try:
            from celery_middle_management.web.prometheus import exposition
        except ImportError:
            missing = "metrics need prometheus_client: pip install 'celery-middle-management[web]'"
            return error(missing, 404)
        accepted = bottle.request.get_header("Accept", "")
        body, content_type = exposition(self._managed(), accepted)
        return answer(body, content_type)

    def _managed(self) -> ManagedApp:
        """The managed app, which may not be ready when the page is made."""
        if self._ready is not None:
            return self._ready
        try:
            managed = enabled_app_of(self._app)
        except ImproperlyConfigured as failure:
            raise error(str(failure), 503) from None
        if not managed.in_reach:
            raise error("the app's broker keeps its tasks in this process or machine", 503)
        self._ready = managed
        return managed


def _why_not(environ: dict[str, Any], visitor: Visitor, managed: ManagedApp) -> str | None:
    if not managed.settings.web_actions:
        return "the page's buttons are off: middle_management_web_actions is not True"
    if not visitor.may_act:
        return f"{name_of(visitor)} may look at this page, and not act on it"
    return forgery.why_forged(environ)


def _body(environ: dict[str, Any]) -> Body:
    """Read the body, whose length the request must tell."""
    told = environ.get("CONTENT_LENGTH") or "0"
    length = int(told) if told.isascii() and told.isdigit() else -1
    if not 0 <= length <= MOST_BYTES:
        raise BadInput(f"the request's body is too long; allowed: {MOST_BYTES} bytes")
    return read_body(environ["wsgi.input"].read(length))


def _failed(failure: bottle.HTTPError) -> bottle.HTTPResponse:
    """Say in one sentence what is wrong with a request, or that our own code has failed."""
    said = {404: NOTHING, 405: "this address is for other requests"}
    status = failure.status_code
    sentence = said.get(status, "the page failed; see the log of its server")
    told = error(sentence, status, unknown=status >= 500)
    if allowed := failure.get_header("Allow"):
        told.set_header("Allow", allowed)
    return told
