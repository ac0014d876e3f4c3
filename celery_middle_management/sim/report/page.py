"""The outcomes of a simulation for people: a page that needs no other file, and a plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.resources import files
from string import Template
from typing import NamedTuple

from celery_middle_management.sim.outcome import Outcome, Waits
from celery_middle_management.sim.report import figures
from celery_middle_management.sim.report.drawing import COLOURS, STYLE, element, escape
from celery_middle_management.sim.report.plots import cut_off, described, panels, plot


def report_html(  # noqa: PLR0917 - each is another kind of thing
    title: str,
    facts: Sequence[tuple[str, str]],
    outcomes: Sequence[Outcome],
    floors: Sequence[float],
    monthly: float,
    concurrency: int,
) -> str:
    """Return a page that compares *outcomes*.

    Args:
        title: What was simulated, such as the name of the trace.
        facts: Names and values for the top of the page.
        outcomes: One for each policy, in the order of the page.
        floors: For each outcome the time (s) that workers must be paid for at least; nan if it is
            not known.
        monthly: The price of a worker ($ a month); 0 if it is unknown, which leaves dollars out.
        concurrency: How many tasks a worker runs at the same time.
    """
    outcomes = [_marked(outcome) for outcome in outcomes]
    columns = _columns(outcomes, floors, monthly)
    sizes = {"broad": 920.0, "narrow": 400.0}
    template = files(__package__).joinpath("report.html").read_text("utf-8")
    return Template(template).substitute(
        title=escape(title),
        facts="\n".join(
            element("div", element("dt", escape(name)), element("dd", escape(value)))
            for name, value in facts
        ),
        light=_variables(0),
        dark=_variables(1),
        drawing=STYLE,
        head=_head(columns),
        rows=_rows(outcomes, columns),
        cost="Cost" if monthly else "Paid hours",
        plots="\n".join(plot(outcomes, monthly, name, width) for name, width in sizes.items()),
        slots=f" / {concurrency}, the concurrency" if concurrency > 1 else "",
        panels="\n".join(_cards(outcomes, monthly, concurrency)),
    )


def plot_svg(outcomes: Sequence[Outcome], monthly: float, title: str) -> str:
    """Return the file of a plot: cost ($; paid hours if *monthly* is 0) against p95 wait."""
    marked = [_marked(outcome) for outcome in outcomes]
    return plot(marked, monthly, "plot", 920.0, title or "Cost against p95 wait") + "\n"


def _marked(outcome: Outcome) -> Outcome:
    """Return an outcome whose name says how many tasks are left, if any are."""
    left = figures.count(outcome.unfinished)
    return (
        replace(outcome, policy=f"{outcome.policy} ({left} unfinished)")
        if outcome.unfinished
        else outcome
    )


def _variables(which: int) -> str:
    return " ".join(f"--{name}: {colours[which]};" for name, colours in COLOURS.items())


class _Column(NamedTuple):
    """A column of the table."""

    head: str
    values: Sequence[float]
    words: Callable[[float], str]
    #: Returns the best of the values, if one is better than another.
    best: Callable[[Sequence[float]], float] | None = min


def _columns(outcomes: Sequence[Outcome], floors: Sequence[float], monthly: float) -> list[_Column]:
    hours, count = figures.hours, figures.count
    bounds = [floor for floor, _ in zip(floors, outcomes, strict=True)]
    dollars = _Column("cost", [o.dollars(monthly) for o in outcomes], figures.dollars)
    return [
        _Column("paid hours", [o.paid_hours for o in outcomes], hours),
        *[dollars][: monthly > 0],
        *(
            _Column(name, [getattr(o.waits, name) for o in outcomes], figures.wait)
            for name in Waits._fields
        ),
        _Column("killed", [o.killed for o in outcomes], count),
        _Column("hires", [o.hires for o in outcomes], count),
        _Column("calls", [o.calls for o in outcomes], count),
        _Column("efficiency", [o.efficiency for o in outcomes], figures.share, max),
        _Column("peak workers", [o.peak_workers for o in outcomes], count, None),
        _Column("floor hours", [bound / 3600 for bound in bounds], hours, None),
    ]


def _best(column: _Column, outcomes: Sequence[Outcome]) -> str | None:
    """Return the best value of a column in words, unless more than half of the policies have it.

    Only policies that get done are looked at.
    """
    pairs = zip(column.values, outcomes, strict=True)
    values = [value for value, outcome in pairs if not outcome.unfinished]
    shown = [column.words(value) for value in values]
    if not column.best or len(shown) < 2:
        return None
    best = column.words(column.best(values))
    return best if 2 * shown.count(best) <= len(shown) else None


def _head(columns: Sequence[_Column]) -> str:
    """Return two rows of headings: those of waits are under one of their own."""
    upper = [element("th", "policy", class_="policy", scope="col", rowspan="2")]
    for column in columns:
        if column.head not in Waits._fields:
            upper.append(element("th", column.head, scope="col", rowspan="2"))
        elif column.head == Waits._fields[0]:
            upper.append(element("th", "wait", scope="colgroup", colspan=str(len(Waits._fields))))
    lower = [element("th", name, scope="col") for name in Waits._fields]
    return "\n".join(element("tr", *row) for row in (upper, lower))


def _rows(outcomes: Sequence[Outcome], columns: Sequence[_Column]) -> str:
    """Return a row of all figures for each policy."""
    best = [_best(column, outcomes) for column in columns]
    rows = []
    for number, outcome in enumerate(outcomes):
        name = element("bdi", escape(outcome.policy))
        cells = [element("th", name, class_="policy", scope="row")]
        for column, winner in zip(columns, best, strict=True):
            shown = column.words(column.values[number])
            wins = shown == winner and not outcome.unfinished
            cells.append(_best_cell(shown) if wins else element("td", escape(shown)))
        rows.append(element("tr", *cells))
    return "\n".join(rows)


def _best_cell(shown: str) -> str:
    star = element("span", "★", aria_hidden="true")
    unseen = element("span", " (best)", class_="unseen")
    return element("td", star, " ", escape(shown), unseen, class_="best")


def _cards(outcomes: Sequence[Outcome], monthly: float, concurrency: int) -> list[str]:
    """Return for each policy its panels over time, under a heading."""
    end = cut_off(outcomes)
    cards = []
    drawings = panels(outcomes, monthly, concurrency)
    for outcome, drawing in zip(outcomes, drawings, strict=True):
        head = element("h3", element("bdi", escape(outcome.policy)))
        note = ". ".join(_notes(outcome, monthly, end))
        note = element("p", escape(note), class_="note")
        cards.append(element("article", head, note, drawing, class_="card"))
    return cards


def _notes(outcome: Outcome, monthly: float, end: float) -> list[str]:
    notes = [described(outcome, monthly)]
    last = outcome.timeline[-1].at if outcome.timeline else 0.0
    if not outcome.timeline:
        notes.append("Nothing is known of its course")
    elif last > end:
        notes.append(f"Not all is drawn: it took until {figures.clock(last)}")
    return notes
