"""Traces: when each task was published and how long it ran, read from a CSV file.

A trace may have millions of tasks. They are kept in arrays, and nothing else is made of every row.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import heapq
import os
import zlib
from array import array
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BufferedReader
from itertools import islice
from math import fsum, inf, nan
from operator import le
from random import Random
from reprlib import Repr
from typing import IO

from celery_middle_management.sim.runtimes import RunTimes

#: More tasks would take more memory than a simulation should.
MOST_TASKS = 20_000_000
#: What an array of the type "H" can number.
MOST_QUEUES = 65_535
#: A longer line (bytes) is taken for something that is not CSV.
LONGEST_LINE = 2**24
#: No whole number is larger: a float of more digits (s) cannot tell moments of a second apart.
_LARGEST = 10**15 - 1
_WHOLE = "a whole number of at most 15 digits"
#: So many tasks are sorted at once. Sorting takes ten times the memory of an array.
_RUN = 2**17

_TASKS = ("published_at", "runtime")
_ARRIVALS = ("second", "arrivals")
_HEADERS = f"{','.join(_TASKS)} (and perhaps queue) or {','.join(_ARRIVALS)}"
_FILE = "text in UTF-8, packed by gzip if and only if the name ends in .gz"

_shortener = Repr()
_shortener.maxstring, _shortener.maxlist = 80, 10
_short = _shortener.repr


class TraceError(ValueError):
    """A file is no trace. The message is one line."""


@dataclass(frozen=True, eq=False)
class Trace:
    """Tasks in the order of their publication. Times are in seconds from the first task."""

    name: str
    #: Ascending, of the type "d". The first is 0.
    published: array[float]
    #: Of the type "d" (s).
    runtimes: array[float]
    queues: tuple[str, ...] = ("celery",)
    #: For each task the place of its queue in *queues*; None if all are of the only queue.
    queue_of: array[int] | None = None

    @property
    def tasks(self) -> int:
        """The number of tasks."""
        return len(self.published)

    @property
    def work(self) -> float:
        """The sum of the run times (s)."""
        try:
            return fsum(self.runtimes)
        except OverflowError:
            return inf

    @property
    def span(self) -> float:
        """When the last task is published (s)."""
        return self.published[-1] if self.published else 0.0

    def only(self, queues: Collection[str]) -> Trace:
        """Return the tasks of these queues, in seconds from the first of them."""
        wanted = frozenset(queues)
        unknown = sorted(wanted.difference(self.queues))
        if unknown or not wanted:
            found = f"no queue {_short(unknown)[1:-1]}" if unknown else "no queue is given"
            raise ValueError(f"{self.name}: {found}; allowed: {_short([*self.queues])[1:-1]}")
        if self.queue_of is None or wanted.issuperset(self.queues):
            return self
        numbers = [number for number, queue in enumerate(self.queues) if queue in wanted]
        kept = {number: place for place, number in enumerate(numbers)}
        tasks = array("I", (task for task, of in enumerate(self.queue_of) if of in kept))
        part = _picked(self, tasks)
        names = tuple(self.queues[number] for number in numbers)
        queue_of = array("H", map(kept.__getitem__, part.queue_of or ())) if names[1:] else None
        return _from_first(replace(part, queues=names, queue_of=queue_of))


def read_trace(
    path: str | os.PathLike[str], *, runtime: RunTimes | None = None, seed: int = 0
) -> Trace:
    """Read a CSV file, compressed with gzip if its name ends in ``.gz``.

    The header names one of two kinds of columns, in any order; others are ignored.

    * ``published_at`` and ``runtime`` (s), and perhaps ``queue``: a task for each row. The rows may
      be in any order, and times may count from any moment.
    * ``second`` and ``arrivals``: so many tasks in that second, each at a random moment of it.
      These need a *runtime*.

    If the file has run times, a *runtime* replaces all of them. The same *seed* makes the same
    trace. Raise `TraceError` if the file cannot be read or holds anything else.
    """
    given = os.fspath(path)
    shown = given if given.isprintable() else _short(given)
    try:
        with open(path, "rb") as file:
            packed = given.lower().endswith(".gz")
            table = _Table(shown, BufferedReader(_Packed(fileobj=file)) if packed else file)
            return _read(os.path.basename(given), table, runtime, Random(seed))
    except OSError as error:  # of opening; the table has its own for reading
        raise TraceError(f"{shown}: {error.strerror}; allowed: a file to be read") from None


def _read(name: str, table: _Table, runtime: RunTimes | None, random: Random) -> Trace:
    header, line = table.header, table.header_line
    if {*_TASKS} <= {*header}:
        trace = _read_tasks(name, table)
    elif {*_ARRIVALS} <= {*header}:
        if runtime is None:
            raise table.wrong("arrivals without run times", "these with --runtime MEAN", line)
        trace = _read_arrivals(name, table, random)
    else:
        found = f"the header {_short(','.join(header))}" if header else "no header"
        raise table.wrong(found, _HEADERS, line)
    if not trace.tasks:
        raise table.wrong("no task below the header", "a task or more", line)
    trace = _from_first(_in_order(trace))
    if trace.span == inf:
        raise table.wrong("times too far apart", "a difference that is a finite number", line)
    if runtime is not None:
        trace = replace(trace, runtimes=runtime.draw(trace.tasks, random))
    return trace


def _read_tasks(name: str, table: _Table) -> Trace:
    """Read one task from each row, in the order of the file."""
    published, runtimes, queue_of = array("d"), array("d"), array("H")
    at, lasts = table.find(*_TASKS)
    (of,) = table.find("queue") if "queue" in table.header else (None,)
    numbers: dict[str, int] = {}
    for row in table.rows:
        moment = lasting = nan
        try:
            moment = float(row[at])
            lasting = float(row[lasts])
        except ValueError:
            pass  # What is not a number is found to be none below.
        if not -inf < moment < inf:
            raise table.wrong_value("published_at", row[at], "a finite number")
        if not 0 <= lasting < inf:
            raise table.wrong_value("runtime", row[lasts], "a finite number, 0 or more")
        if len(published) >= MOST_TASKS:
            raise table.wrong("too many tasks", f"at most {MOST_TASKS:,} in all")
        published.append(moment)
        runtimes.append(lasting)
        if of is not None:
            queue = row[of].strip()
            number = numbers.setdefault(queue, len(numbers))
            if not queue or number >= MOST_QUEUES:
                allowed = f"a name, and at most {MOST_QUEUES:,} in all"
                raise table.wrong_value("queue", queue, allowed)
            queue_of.append(number)
    queues = tuple(numbers) or Trace.queues
    return Trace(name, published, runtimes, queues, queue_of if len(queues) > 1 else None)


def _read_arrivals(name: str, table: _Table, random: Random) -> Trace:
    """Spread the arrivals of each row over its second; the run times are yet to be drawn."""
    published = array("d")
    begin, many = table.find(*_ARRIVALS)
    first: int | None = None
    for row in table.rows:
        second, arrivals = _whole(row[begin]), _whole(row[many])
        if second is None:
            raise table.wrong_value("second", row[begin], _WHOLE)
        if arrivals is None or arrivals < 0:
            raise table.wrong_value("arrivals", row[many], f"{_WHOLE}, 0 or more")
        if len(published) + arrivals > MOST_TASKS:
            raise table.wrong("too many tasks", f"at most {MOST_TASKS:,} in all")
        first = second if first is None else first
        since = second - first  # Added to Unix time, the moments would lose digits.
        moments = sorted([random.random() for _ in range(arrivals)])
        published.extend(since + moment for moment in moments)
    return Trace(name, published, array("d"))


def _whole(text: str) -> int | None:
    try:
        number = int(text)
    except ValueError:
        return None
    return number if -_LARGEST <= number <= _LARGEST else None


def _in_order(trace: Trace) -> Trace:
    """Return the trace sorted by the times of publication, stably."""
    times = trace.published
    if all(map(le, times, islice(times, 1, None))):
        return trace
    parts = (range(at, min(at + _RUN, len(times))) for at in range(0, len(times), _RUN))
    runs = [array("I", sorted(part, key=times.__getitem__)) for part in parts]
    return _picked(trace, array("I", heapq.merge(*runs, key=times.__getitem__)))


def _picked(trace: Trace, tasks: Sequence[int]) -> Trace:
    """Return these tasks of a trace, in this order."""
    published = array("d", map(trace.published.__getitem__, tasks))
    runtimes = array("d", map(trace.runtimes.__getitem__, tasks if trace.runtimes else ()))
    queue_of = trace.queue_of and array("H", map(trace.queue_of.__getitem__, tasks))
    return replace(trace, published=published, runtimes=runtimes, queue_of=queue_of)


def _from_first(trace: Trace) -> Trace:
    """Return a sorted trace with its times counted from its first task."""
    first = trace.published[0] if trace.published else 0.0
    return replace(trace, published=array("d", (moment - first for moment in trace.published)))


class _Packed(gzip.GzipFile):
    """A file of which all that can be unpacked is read before an error is raised."""

    readinto = gzip.GzipFile.readinto1


class _Table:
    """The rows of a CSV file, without blank ones, and the place where each is."""

    def __init__(self, shown: str, file: IO[bytes]) -> None:
        self._shown = shown
        #: The last line of the row before.
        self._before = 0
        self._ended, self._fewest, self._most = False, 0, LONGEST_LINE
        self._reader = csv.reader(self._lines(file), skipinitialspace=True)
        self.rows = self._read()
        self.header = [name.strip() for name in next(self.rows, [])]
        self.header_line = self._before + 1 if self.header else 1

    def find(self, *columns: str) -> list[int]:
        """Return the places of these columns, which each row must then have."""
        for name in columns:
            if self.header.count(name) > 1:
                raise self.wrong(f"more than one column {name}", "one")
        places = [self.header.index(name) for name in columns]
        self._fewest, self._most = max(self._fewest, max(places) + 1), len(self.header)
        return places

    def wrong_value(self, column: str, text: str, allowed: str) -> TraceError:
        """Make an error about a value of the row that was read last."""
        return self.wrong(f"{column} is {_short(text.strip())}", allowed)

    def wrong(self, found: str, allowed: str, line: int | None = None) -> TraceError:
        """Make an error about a line, or about the row that was read last."""
        line = line or self._before + 1
        return TraceError(f"{self._shown}, line {line}: {found}; allowed: {allowed}")

    def _read(self) -> Iterator[list[str]]:
        try:
            for row in self._reader:
                if len(row) > 1 or (row and row[0].strip()):
                    if self._ended:
                        raise self.wrong("a quote that is not closed", "quotes in pairs")
                    if len(row) < self._fewest or any(map(str.strip, row[self._most :])):
                        allowed = f"{self._most} fields, as in the header"
                        raise self.wrong_value("the row", ",".join(row), allowed)
                    yield row
                self._before = self._reader.line_num
        except UnicodeDecodeError as error:
            found = f"{error.object[error.start : error.end]!r} is not UTF-8"
            raise self.wrong(found, _FILE, self._reader.line_num + 1) from None
        except csv.Error as error:
            raise self.wrong(f"not CSV ({error})", "CSV") from None
        except (OSError, EOFError, zlib.error) as error:
            found = f"cannot be read further ({error})"
            raise self.wrong(found, _FILE, self._reader.line_num + 1) from None

    def _lines(self, file: IO[bytes]) -> Iterator[str]:
        """Yield each line as text, and then a blank one, which a quote that is open takes in."""
        line = file.readline(LONGEST_LINE + 1).removeprefix(codecs.BOM_UTF8)
        while line:
            if len(line) > LONGEST_LINE:
                allowed = f"{LONGEST_LINE:,} bytes or fewer"
                raise self.wrong("a line too long", allowed, self._reader.line_num + 1)
            yield line.decode()
            line = file.readline(LONGEST_LINE + 1)
        self._ended = True
        yield "\n"
