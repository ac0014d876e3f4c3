"""The verdicts as a table for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .invariants import Verdict

SHOWN = 10
#: The settings in which runs differ.
MADE_OF = ("seed", "broker", "dynos", "call_interval")


def as_text(settings: Mapping[str, Any], seconds: float, verdicts: Sequence[Verdict]) -> str:
    """Format one line per invariant, with where it broke below it."""
    made_of = ", ".join(f"{name} {settings[name]}" for name in MADE_OF)
    lines = [f"Chaos of {seconds / 60:.1f} min: {made_of}", ""]
    width = max(len(verdict.name) for verdict in verdicts)
    for verdict in verdicts:
        mark = "held" if verdict.held else "BROKEN"
        lines.append(f"{mark:6}  {verdict.name:{width}}  {_figures(verdict.figures)}")
        lines += [f"          {where}" for where in verdict.broken[:SHOWN]]
        if len(verdict.broken) > SHOWN:
            lines.append(f"          and {len(verdict.broken) - SHOWN} more")
    broken = sum(not verdict.held for verdict in verdicts)
    lines += ["", f"{broken} of {len(verdicts)} invariants broke" if broken else "All held."]
    return "\n".join(lines)


def as_json(
    settings: Mapping[str, Any], seconds: float, verdicts: Sequence[Verdict]
) -> dict[str, Any]:
    return {
        **{name: settings[name] for name in MADE_OF},
        "minutes": round(seconds / 60, 2),
        "held": all(verdict.held for verdict in verdicts),
        "invariants": [
            {"name": v.name, "held": v.held, "figures": v.figures, "broken": v.broken}
            for v in verdicts
        ],
    }


def _figures(figures: dict[str, Any]) -> str:
    return "; ".join(f"{name}: {_value(value)}" for name, value in figures.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{n} x {name}" for name, n in value.items())
    if isinstance(value, list):
        return f"{len(value)} of up to {max(value)}" if value else "none"
    return str(value)
