"""What ``celery mm doctor`` has found, for people: what must be mended last, beside the prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from celery_middle_management.doctor import FAILURE, OK, WARNING, Finding

_SIGNS = {OK: ("ok", "green"), WARNING: ("WARNING", "yellow"), FAILURE: ("FAILURE", "bold red")}


def doctor_screen(findings: Collection[Finding]) -> RenderableType:
    """A row for each finding, how to mend it beneath it, and how many there are of each level."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(min_width=7)
    table.add_column()
    for level in (OK, WARNING, FAILURE):
        for finding in findings:
            if finding.level == level:
                sign, style = _SIGNS[level]
                told: list[RenderableType] = [Text(finding.what)]
                if finding.mend:
                    # What can be pasted has a line of its own.
                    mend = Table.grid(padding=(0, 1, 0, 0))
                    mend.add_row(Text("->", style="cyan"), Text(finding.mend, style="cyan"))
                    told.append(mend)
                table.add_row(Text(sign, style=style), Group(*told))
    of = Counter(finding.level for finding in findings)
    parts = [_many(of[FAILURE], "failure"), _many(of[WARNING], "warning"), f"{of[OK]} ok"]
    return Group(table, Text(", ".join(parts)))


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
