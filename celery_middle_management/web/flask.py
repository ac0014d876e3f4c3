"""The live page as a blueprint of a Flask app, whose login decides who may see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flask import Blueprint, request
from werkzeug import Response

from celery_middle_management.web import Page, Visitor

if TYPE_CHECKING:
    from celery import Celery


def blueprint(app: Celery, visitor: Callable[[dict[str, Any]], Visitor | None]) -> Blueprint:
    """Return a blueprint that serves the live page of *app*.

    ``flask_app.register_blueprint(blueprint(celery_app, visitor), url_prefix="/workers")``

    Args:
        visitor: is called for each request, in its context, with the WSGI environment; so it may
            use ``flask.session`` or Flask-Login's ``current_user``, and may ``abort()``. It
            returns None for visitors who may see nothing.

    With Flask-WTF's CSRFProtect, call ``csrf.exempt()`` on the blueprint: the page has a protection
    of its own.
    """
    page = Page(app, visitor)
    mounted = Blueprint("middle_management", __name__)

    # A function of its own for the page, because Flask refuses an address without its last slash.
    @mounted.route("/", defaults={"path": ""}, methods=["GET", "POST"])
    @mounted.route("/<path:path>", methods=["GET", "POST"])
    def live(path: str) -> Response:
        environ = request.environ
        whole = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        inner = path.encode().decode("latin-1")
        mount = whole.removesuffix(inner).rstrip("/")
        return Response.from_app(page, {**environ, "SCRIPT_NAME": mount, "PATH_INFO": "/" + inner})

    return mounted
