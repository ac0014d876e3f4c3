"""Writes traces of very different shapes, on which policies can be tuned without the real ones.

python -m tests.benchmarks.shapes /tmp/shapes
python -m tests.benchmarks.longest_wait /tmp/shapes --cache /tmp/policies --into /tmp
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from math import exp, pi, sin
from pathlib import Path
from random import Random
from typing import TypeAlias

HOUR = 3600.0
DAY = 24 * HOUR

#: When each task is published, and how long it runs (s).
Tasks: TypeAlias = Iterator[tuple[float, float]]


def bursts(random: Random, every: float, tasks: int, over: float, mean: float) -> Tasks:
    """So many tasks at once, or nearly, again and again."""
    for number in range(int(8 * HOUR / every)):
        for _ in range(tasks):
            yield number * every + random.random() * over, runtime(random, mean, 0.3)


def stream(random: Random, rate: float, time: float, mean: float, sigma: float = 1.0) -> Tasks:
    """Poisson arrivals."""
    now = random.expovariate(rate)
    while now < time:
        yield now, runtime(random, mean, sigma)
        now += random.expovariate(rate)


def days(random: Random, rate: float, mean: float) -> Tasks:
    """Arrivals that rise and fall as on a day, with a night of none."""
    for at, runs in stream(random, rate, DAY, mean):
        if random.random() < sin(2 * pi * at / DAY - pi / 2):
            yield at, runs


def on_and_off(random: Random, rate: float, mean: float) -> Tasks:
    """Two minutes of work, on average, after a quarter of an hour of rest."""
    now = 0.0
    while now < 8 * HOUR:
        lasts = random.expovariate(1 / 120)
        for at, runs in stream(random, rate, lasts, mean):
            yield now + at, runs
        now += lasts + random.expovariate(1 / 900)


def heaps(random: Random, mean: float) -> Tasks:
    """Bursts whose sizes have a heavy tail."""
    now = 0.0
    while now < 12 * HOUR:
        now += random.expovariate(1 / 400)
        for _ in range(min(int(random.paretovariate(1.2) * 3), 400)):
            yield now + random.random() * 3, runtime(random, mean, 1.0)


def runtime(random: Random, mean: float, sigma: float) -> float:
    """Draw a lognormal run time (s)."""
    return mean * exp(random.gauss(0.0, sigma) - sigma * sigma / 2)


SHAPES: dict[str, Callable[[Random], Tasks]] = {
    "hourly-150-of-11s": lambda random: bursts(random, HOUR, 150, 20.0, 11.0),
    "hourly-30-of-120s": lambda random: bursts(random, HOUR, 30, 5.0, 120.0),
    "ten-thousand-of-1s": lambda random: bursts(random, 8 * HOUR, 10_000, 10.0, 1.0),
    "stream-1-a-second-of-2s": lambda random: stream(random, 1.0, 6 * HOUR, 2.0),
    "stream-8-a-second-of-50ms": lambda random: stream(random, 8.0, 2 * HOUR, 0.05),
    "stream-of-200ms": lambda random: stream(random, 0.3, 6 * HOUR, 0.2),
    "trickle-of-3s": lambda random: stream(random, 1 / 300, DAY, 3.0),
    "trickle-of-8s": lambda random: stream(random, 1 / 40, 12 * HOUR, 8.0),
    "day-of-2s": lambda random: days(random, 1.5, 2.0),
    "day-of-30s": lambda random: days(random, 0.4, 30.0),
    "heavy-tail-of-20s": lambda random: stream(random, 0.05, 12 * HOUR, 20.0, 2.0),
    "twenty-minutes-each": lambda random: stream(random, 1 / 200, DAY, 1200.0, 0.5),
    "on-and-off-of-1s": lambda random: on_and_off(random, 4.0, 1.0),
    "heaps-of-5s": lambda random: heaps(random, 5.0),
}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path, help="where to write the traces")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    for name, shape in SHAPES.items():
        tasks = sorted(shape(Random(f"{name} {options.seed}")))
        rows = [f"{at - tasks[0][0]:.3f},{max(runs, 0.001):.3f}" for at, runs in tasks]
        text = "\n".join(["published_at,runtime", *rows, ""])
        options.directory.joinpath(f"{name}.csv").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
