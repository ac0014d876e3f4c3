"""The JSON message about entries of the history, in the form of Slack's incoming webhooks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

#: So much of a reason (characters) is in the text. Slack advises texts of at most 4,000.
_LONGEST_REASON = 300
#: So much of any text (characters) is in an entry.
_LONGEST_VALUE = 500

_Entry = Mapping[str, Any]


def message_of(app: str, entries: Sequence[_Entry]) -> bytes:
    """Return the message about *entries* of *app*, as JSON.

    People read ``text``. Programs read ``metadata``, which Slack stores and does not show. Slack
    demands that its values be text, numbers or booleans.
    """
    text = "\n".join(escaped(f"{app}, {sentence(entry)}") for entry in entries)
    payload = {"app": app, "entries": [dict(_plain(entry)) for entry in entries]}
    return json.dumps(
        {
            "text": text,
            "unfurl_links": False,
            "unfurl_media": False,
            "metadata": {"event_type": "middle_management", "event_payload": payload},
        }
    ).encode()


def escaped(text: str) -> str:
    """Return *text* as Slack shows it literally, on one line.

    In Slack's markup, ``<!channel>`` would notify everyone in the channel.
    """
    one_line = re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in text))
    return one_line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def sentence(entry: _Entry) -> str:
    """Return what an *entry* of the history says, for people."""
    where = f"pool {entry['pool']}" if entry.get("pool") else "all pools"
    parts = [f"{where}: {_did(entry)}"]
    if "to" in entry:
        parts.append(f"from {entry.get('from')} to {entry['to']} workers")
    if entry.get("until"):
        parts.append(f"until {datetime.fromisoformat(entry['until']):%Y-%m-%d %H:%M:%SZ}")
    if "lasted" in entry:
        parts.append(f"after {entry['lasted']:.0f} s")
    if entry.get("by"):
        parts.append(f"by {entry['by']}")
    said = " ".join(parts)
    reason = str(entry.get("reason") or "")
    if len(reason) > _LONGEST_REASON:
        reason = f"{reason[:_LONGEST_REASON]}…"
    return f"{said}: {reason}" if reason else said


def _did(entry: _Entry) -> str:
    action = str(entry["action"])
    if action in {"hire", "fire"}:
        return f"would {action}" if entry.get("dry_run") else f"{action}d"
    if action == "pause":
        return " and ".join(what for what in ("hires", "fires") if entry.get(what)) + " paused"
    return {
        "by hand": "changed by hand",
        "resume": "resumed",
        "ask to hire": "hire requested",
        "ask to fire": "fire requested",
        "stuck at max": "stuck at max_workers",
        "stuck at max over": "no longer stuck at max_workers",
    }.get(action, action)


def _plain(entry: _Entry) -> Iterable[tuple[str, Any]]:
    for key, value in entry.items():
        if isinstance(value, str):
            yield key, value[:_LONGEST_VALUE]
        elif isinstance(value, (bool, int, float)):
            yield key, value
