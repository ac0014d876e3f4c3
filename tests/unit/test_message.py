"""The message to the webhook: what people read, and what programs read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from celery_middle_management.reporting.message import escaped, message_of, sentence

AT = "2026-11-29T10:00:00.000+00:00"
HIRE = {"pool": "worker", "at": AT, "action": "hire", "from": 2, "to": 5, "reason": "27 tasks"}


def said(action: str, **entry: Any) -> str:
    return sentence({"pool": None, "at": AT, "action": action, **entry})


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (HIRE, "pool worker: hired from 2 to 5 workers: 27 tasks"),
        ({**HIRE, "dry_run": True}, "pool worker: would hire from 2 to 5 workers: 27 tasks"),
        ({**HIRE, "action": "fire", "to": 0}, "pool worker: fired from 2 to 0 workers: 27 tasks"),
        (
            {"pool": "pdf", "action": "by hand", "from": 1, "to": 3},
            "pool pdf: changed by hand from 1 to 3 workers",
        ),
        (
            {"action": "pause", "hires": True, "fires": True, "until": AT, "by": "ann@box"},
            "all pools: hires and fires paused until 2026-11-29 10:00:00Z by ann@box",
        ),
        (
            {"action": "pause", "hires": False, "fires": True, "until": None, "by": "ann@box"},
            "all pools: fires paused by ann@box",
        ),
        ({"action": "resume", "by": "ann@box"}, "all pools: resumed by ann@box"),
        (
            {"pool": "pdf", "action": "ask to hire", "from": 1, "to": 2, "until": AT, "by": "ann"},
            "pool pdf: hire requested from 1 to 2 workers until 2026-11-29 10:00:00Z by ann",
        ),
        ({"action": "trouble", "reason": "no key"}, "all pools: trouble: no key"),
        (
            {"action": "trouble over", "lasted": 42.4, "reason": "no key"},
            "all pools: trouble over after 42 s: no key",
        ),
        (
            {"pool": "pdf", "action": "stuck at max", "reason": "9 tasks wait"},
            "pool pdf: stuck at max_workers: 9 tasks wait",
        ),
        (
            {"pool": "pdf", "action": "stuck at max over", "lasted": 600.0, "reason": "9 tasks"},
            "pool pdf: no longer stuck at max_workers after 600 s: 9 tasks",
        ),
        ({"action": "sing", "reason": "of a later release"}, "all pools: sing: of a later release"),
    ],
)
def test_every_entry_is_a_sentence(entry: dict[str, Any], text: str) -> None:
    assert said(**entry) == text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("<!channel>", "&lt;!channel&gt;"),
        ("<@U123|ann>", "&lt;@U123|ann&gt;"),
        ("a & b &lt;", "a &amp; b &amp;lt;"),
        ("one\nline\r\n\t\u2028\x00\x1b[1m", "one line [1m"),
    ],
)
def test_a_name_that_is_markup_pings_no_one(name: str, shown: str) -> None:
    assert escaped(name) == shown
    entries: list[dict[str, Any]] = [{**HIRE, "reason": name}, {**HIRE, "pool": name}]
    text = json.loads(message_of(name, entries))["text"]
    assert text.splitlines() == [
        f"{shown}, pool worker: hired from 2 to 5 workers: {shown}",
        f"{shown}, pool {shown}: hired from 2 to 5 workers: 27 tasks",
    ]


def test_programs_get_each_entry_in_the_values_that_slack_allows() -> None:
    odd = {**HIRE, "until": None, "dry_run": True, "lasted": 1.5, "more": {"of": "a later release"}}
    message = json.loads(message_of("myapp", [HIRE, odd]))
    assert message["metadata"]["event_type"] == "middle_management"
    assert message["metadata"]["event_payload"] == {
        "app": "myapp",
        "entries": [HIRE, {**HIRE, "dry_run": True, "lasted": 1.5}],
    }
    assert not message["unfurl_links"]


def test_a_message_of_the_most_entries_is_not_too_long_for_slack() -> None:
    message = message_of("myapp", [{**HIRE, "reason": "word " * 10_000}] * 10)
    assert len(json.loads(message)["text"]) < 4000
    assert len(message) < 16_000


def test_the_documentation_shows_a_message() -> None:
    page = Path(__file__).parents[2].joinpath("docs", "messages.md").read_text()
    [shown] = re.findall(r"```json\n(.*?)```", page, re.S)
    message = json.loads(shown)
    told = message["metadata"]["event_payload"]
    assert json.loads(message_of(told["app"], told["entries"])) == message
