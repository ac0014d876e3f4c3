"""Figures with their spread and their target, as a table or as JSON."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

from rich.console import Console
from rich.markup import escape

T = TypeVar("T")


@dataclass(frozen=True)
class Figure:
    """One result. *spread* is the lower and upper quartile; *limit* looks like ``<= 250``."""

    name: str
    value: float
    unit: str = ""
    spread: tuple[float, float] | None = None
    limit: str = ""

    @property
    def kept(self) -> bool | None:
        """True if it is within its limit; None if it has none."""
        if not self.limit:
            return None
        sign, _, bound = self.limit.partition(" ")
        value = float(bound)
        return {
            "<=": self.value <= value,
            "<": self.value < value,
            ">=": self.value >= value,
            "==": self.value == value,
        }[sign]


def median(name: str, values: Sequence[float], unit: str, limit: str = "") -> Figure:
    """The median of *values*, with their spread."""
    return Figure(name, statistics.median(values), unit, _quartiles(values), limit)


def ratio(name: str, ours: Sequence[float], plain: Sequence[float], limit: str) -> Figure:
    """The ratio of the medians, with the spread of the pairs' ratios."""
    pairs = [a / b for a, b in zip(ours, plain, strict=True)]
    value = statistics.median(ours) / statistics.median(plain)
    return Figure(name, value, "x", _quartiles(pairs), limit)


def abba(rounds: int, ours: Callable[[], T], plain: Callable[[], T]) -> list[list[T]]:
    """Measure both in each round, alternating which comes first: [ours, plain]."""
    results: list[list[T]] = [[], []]
    for i in range(rounds):
        for which in (0, 1) if i % 2 == 0 else (1, 0):
            results[which].append((ours, plain)[which]())
    return results


def command(
    description: str | None, measure: Callable[..., Iterable[Figure]], **sizes: int
) -> None:
    """Run a benchmark's command line: *sizes* are the options of *measure*, with defaults."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    options = vars(parser.parse_args())
    as_json = options.pop("json")
    figures = measure(**options)
    if as_json:
        print(json.dumps([{**asdict(f), "kept": f.kept} for f in figures], indent=2))
    else:
        _print(figures)


def _print(figures: Iterable[Figure]) -> None:
    """Print figures as they come, so that those of a stopped benchmark are not lost."""
    console = Console(highlight=False, soft_wrap=True)
    for f in figures:
        spread = f"{_short(f.spread[0])} … {_short(f.spread[1])}" if f.spread else ""
        kept = {None: "", True: "[green]kept", False: "[red]missed"}[f.kept]
        figure = f"{_short(f.value)} {f.unit}".strip()
        name = escape(f.name)
        console.print(f"{name:<60} {figure:<16} {spread:<18} {f.limit:<8} {kept}".rstrip())


def _short(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.3g}"


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
    return lower, upper
