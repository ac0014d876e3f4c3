"""A FastAPI app that publishes tasks and has the live page of its workers: `uvicorn web:web`."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import tasks
from a2wsgi import WSGIMiddleware
from fastapi import FastAPI, Request, Response
from fastapi.security import HTTPBasic
from starlette.types import Receive, Scope, Send

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


page = WSGIMiddleware(Page(tasks.app, lambda environ: environ["asgi.scope"]["visitor"]))


async def workers(scope: Scope, receive: Receive, send: Send) -> None:
    """Show the page to those who know the password; in your app, its own login decides."""
    login = await HTTPBasic(auto_error=False)(Request(scope))
    known = os.environ.get("PAGE_PASSWORD", "")
    if login and known and secrets.compare_digest(login.password.encode(), known.encode()):
        await page({**scope, "visitor": Visitor(login.username, may_act=True)}, receive, send)
    else:
        ask = {"WWW-Authenticate": 'Basic realm="workers"'}
        await Response("Log in.\n", 401, ask)(scope, receive, send)


web.mount("/workers", workers)
