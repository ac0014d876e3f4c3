"""The answers and refusals of the API."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

LIMITS_URL = "https://devcenter.heroku.com/articles/dyno-size#default-scaling-limits"

Json = dict[str, Any]


@dataclass
class Answer:
    status: int
    payload: Json | list[Json] | bytes
    headers: dict[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """An error in Heroku's form."""

    def __init__(self, status: int, id: str, message: str, **more: str | int) -> None:
        super().__init__(message)
        self.answer = Answer(status, {**more, "id": id, "message": message})


def not_found(resource: str, message: str) -> Refusal:
    return Refusal(404, "not_found", message, resource=resource)


def invalid(message: str) -> Refusal:
    return Refusal(422, "invalid_params", message)


def above_limit(limit: int, size: str) -> Refusal:
    message = f"Cannot run more than {limit} {size} size dynos."
    return Refusal(422, "cannot_run_above_limit", message, limit=limit, size=size, url=LIMITS_URL)
