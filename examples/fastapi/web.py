"""A FastAPI app that publishes tasks and has the live page of its workers: `uvicorn web:web`."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import tasks
from a2wsgi import WSGIMiddleware
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.security import HTTPBasic

import celery_middle_management
from celery_middle_management.web import Page, Visitor


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Hire for the last tasks at the end, because no exit handler runs in uvicorn."""
    yield
    await asyncio.to_thread(celery_middle_management.flush, tasks.app)


web = FastAPI(lifespan=lifespan)


# Not a coroutine, because publishing waits for the broker.
@web.post("/resize/{image}", status_code=202)
def resize(image: str) -> str:
    tasks.resize.delay(image)
    return "it will be resized"


@web.middleware("http")
async def log_in(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
    """Let in those who know the password; in your app, its own login decides."""
    if not request.scope["path"].startswith("/workers"):
        return await go_on(request)
    try:
        login = await HTTPBasic(realm="workers")(request)
    except HTTPException as error:
        return Response("Log in.\n", error.status_code, error.headers)
    known = os.environ.get("PAGE_PASSWORD", "")
    if login and known and secrets.compare_digest(login.password.encode(), known.encode()):
        request.state.visitor = Visitor(login.username, may_act=True)
    return await go_on(request)


def visitor(environ: dict[str, Any]) -> Visitor | None:
    """Return what the middleware has found out; the WSGI environment holds the ASGI scope."""
    found: Visitor | None = environ["asgi.scope"].get("state", {}).get("visitor")
    return found


web.mount("/workers", WSGIMiddleware(Page(tasks.app, visitor)))
