"""The findings of ``celery mm doctor`` on a screen: failures last, next to the prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from celery_middle_management.doctor import FAILURE, OK, WARNING, Finding
from celery_middle_management.views.words import plural

_SIGNS = {OK: ("ok", "green"), WARNING: ("WARNING", "yellow"), FAILURE: ("FAILURE", "bold red")}


def doctor_screen(findings: Collection[Finding]) -> RenderableType:
    """A row for each finding, with its remedy beneath; at the end, how many have each level."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(min_width=7)
    table.add_column()
    for level in (OK, WARNING, FAILURE):
        for finding in findings:
            if finding.level == level:
                sign, style = _SIGNS[level]
                lines: list[RenderableType] = [Text(finding.what)]
                if finding.mend:
                    # A grid keeps the lines to paste aligned, and the arrow out of them.
                    mend = Table.grid(padding=(0, 1, 0, 0))
                    mend.add_row(Text("->", style="cyan"), Text(finding.mend, style="cyan"))
                    lines.append(mend)
                table.add_row(Text(sign, style=style), Group(*lines))
    number = Counter(finding.level for finding in findings)
    parts = [
        plural(number[FAILURE], "failure", "failures"),
        plural(number[WARNING], "warning", "warnings"),
        f"{number[OK]} ok",
    ]
    return Group(table, Text(", ".join(parts)))
