"""Our requests to the platform, as the emulator recorded them."""

from __future__ import annotations

import json

from tests.chaos.journal import Event

from .story import Story

#: A write that got no good answer may be carried out up to this long (s) after it came in.
UNANSWERED = 60.0
#: The tries of one call end with its lease (s).
CALL_LASTS = 12.0
#: Refusals of the request itself, not of its sender or its rate.
REFUSED = (404, 422)


def writes(story: Story) -> list[Event]:
    """Every request that should change a quantity."""
    return [request for request in story.kinds["request"] if request["method"] == "PATCH"]


def asked(request: Event) -> dict[str, int]:
    """The quantities that a write asks for."""
    updates = json.loads(request["body"]).get("updates", [])
    return {str(update["type"]): int(update["quantity"]) for update in updates}


def unanswered(request: Event) -> bool:
    """Return whether the answer does not show what became of the request."""
    return request["met"] is not None and request["status"] != 429


def lateness(request: Event) -> float:
    """How long (s) after its arrival a request was carried out; 0 if it was not."""
    return float((request["done_at"] or request["at"]) - request["at"])


def calls(story: Story) -> list[list[Event]]:
    """Writes, grouped by call.

    A call includes repeated tries if the platform failed, and its parts after a refusal.
    """
    found: list[list[Event]] = []
    for request in writes(story):
        call = found[-1] if found else None
        if call and request["at"] - call[0]["at"] < CALL_LASTS and _continues(story, call, request):
            call.append(request)
        else:
            found.append([request])
    return found


def _continues(story: Story, call: list[Event], request: Event) -> bool:
    first, last = call[0], call[-1]
    if any(earlier["status"] in REFUSED for earlier in call):
        return asked(request).keys() <= asked(first).keys()
    around = last["at"] - 0.1, last["at"] + 0.1
    failed = story.disturbed("api", *around) or story.disturbed("late", *around)
    return failed and bool(first["body"] == request["body"])
