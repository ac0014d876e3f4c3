"""A FastAPI app that publishes tasks: `uvicorn web:web`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import tasks
from fastapi import FastAPI

import celery_middle_management


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
