"""Traces read from small files: what they hold, and what is said of files that are none."""

from __future__ import annotations

import csv
import gzip
import math
from array import array
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_middle_management.sim import trace as module
from celery_middle_management.sim.runtimes import RunTimes
from celery_middle_management.sim.trace import Trace, TraceError, read_trace

TASKS = "published_at,runtime\n"
QUEUED = "published_at,runtime,queue\n"
ARRIVALS = "second,arrivals\n"
HEADERS = "published_at,runtime (and perhaps queue) or second,arrivals"
PACKED = "text in UTF-8, packed by gzip if and only if the name ends in .gz"
WHOLE = "a whole number of at most 15 digits"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "t.csv"


def read(path: Path, content: str | bytes, runtime: RunTimes | None = None, seed: int = 0) -> Trace:
    """Read a file with this content."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_trace(path, runtime=runtime, seed=seed)


def rows(trace: Trace) -> list[tuple[float, float, str]]:
    """Each task: its time, its run time and its queue."""
    of = trace.queue_of or array("H", [0]) * trace.tasks
    names = [trace.queues[number] for number in of]
    return list(zip(trace.published, trace.runtimes, names, strict=True))


def error(path: Path, content: str | bytes | None = None, runtime: RunTimes | None = None) -> str:
    """Return what is said of a file, without its name."""
    with pytest.raises(TraceError) as caught:
        read_trace(path, runtime=runtime) if content is None else read(path, content, runtime)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.isprintable()
    assert caught.value.__cause__ is None
    return message.removeprefix(str(path)).lstrip(", ")


def test_tasks_are_read_and_shifted_to_begin_at_zero(path: Path) -> None:
    trace = read(path, TASKS + "1700000000.5,2\n1700000001.5,0\n1700000004.5,0.25\n")
    assert rows(trace) == [(0, 2, "celery"), (1, 0, "celery"), (4, 0.25, "celery")]
    assert (trace.name, trace.tasks, trace.work, trace.span) == ("t.csv", 3, 2.25, 4)
    assert (trace.published.typecode, trace.runtimes.typecode) == ("d", "d")
    assert (trace.queues, trace.queue_of) == (("celery",), None)


def test_tasks_are_sorted_and_those_of_one_moment_keep_their_order(path: Path) -> None:
    trace = read(path, QUEUED + "5,1,a\n-2,2,b\n5,3,b\n-2,4,a\n")
    assert rows(trace) == [(0, 2, "b"), (0, 4, "a"), (7, 1, "a"), (7, 3, "b")]
    assert trace.queues == ("a", "b")


def test_sorting_in_runs_is_stable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RUN", 3)
    times = [7, 1, 7, 3, 1, 7, 0, 3, 1, 1]
    trace = read(path, TASKS + "".join(f"{t},{n}\n" for n, t in enumerate(times)))
    expected = sorted((t, n) for n, t in enumerate(times))
    assert [(t, n) for t, n, _ in rows(trace)] == expected


@pytest.mark.parametrize(
    "content",
    [
        TASKS + "0,1\n2,3",
        "\ufeff" + TASKS + "0,1\n2,3\n",
        "published_at,runtime\r\n0,1\r\n2,3\r\n",
        " runtime , published_at\n 1 , 0 \n\t3,\t2\n",
        "\n \n" + TASKS + "\n0,1\n  \n\n2,3\n\n",
        'id,"published_at",host,runtime,note\n1,0,a,1,"x,\ny"\n2, "2" ,b,"3",\n',
        TASKS + "0,1,\n2,3, , \n",
        TASKS + "0e0,+1\n20e-1,3.\n",
    ],
)
def test_a_file_may_look_different(path: Path, content: str) -> None:
    assert rows(read(path, content)) == [(0, 1, "celery"), (2, 3, "celery")]


def test_a_file_may_be_packed(tmp_path: Path) -> None:
    trace = read(tmp_path / "t.csv.gz", gzip.compress(b"\xef\xbb\xbf" + TASKS.encode() + b"0,1\n"))
    assert rows(trace) == [(0, 1, "celery")]
    assert trace.name == "t.csv.gz"


def test_a_path_may_be_a_text(path: Path) -> None:
    path.write_text(TASKS + "0,1\n")
    assert read_trace(str(path)).tasks == 1


def test_queues_are_numbered_as_they_appear(path: Path) -> None:
    trace = read(path, "queue,runtime,published_at\n mail ,1,0\n'slow',1,0\nmail,1,0\n")
    assert trace.queues == ("mail", "'slow'")
    assert trace.queue_of is not None
    assert (trace.queue_of.typecode, list(trace.queue_of)) == ("H", [0, 1, 0])


def test_a_single_queue_needs_no_numbers(path: Path) -> None:
    trace = read(path, QUEUED + "0,1,mail\n1,1,mail\n")
    assert (trace.queues, trace.queue_of) == (("mail",), None)
    assert trace.only(["mail"]) is trace


def test_a_given_runtime_replaces_those_of_the_file(path: Path) -> None:
    trace = read(path, TASKS + "3,10\n1,20\n", RunTimes(2))
    assert rows(trace) == [(0, 2, "celery"), (2, 2, "celery")]
    drawn = read(path, TASKS + "3,10\n1,20\n", RunTimes(2, 1), seed=1)
    assert drawn.runtimes != read(path, TASKS + "3,10\n1,20\n", RunTimes(2, 1), seed=2).runtimes


def test_a_sum_beyond_all_floats_is_infinite(path: Path) -> None:
    assert read(path, TASKS + "0,1e308\n0,1e308\n").work == math.inf


def test_a_part_is_of_some_queues_and_begins_with_its_first_task(path: Path) -> None:
    trace = read(path, QUEUED + "0,1,a\n1,2,b\n2,3,c\n4,4,b\n6,5,c\n")
    assert rows(trace.only({"b"})) == [(0, 2, "b"), (3, 4, "b")]
    assert trace.only({"b"}).queue_of is None
    assert rows(trace.only(["c", "a", "c"])) == [(0, 1, "a"), (2, 3, "c"), (6, 5, "c")]
    assert trace.only(("c", "a")).queues == ("a", "c")
    assert trace.only("abc") is trace


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (["b", "x", "w"], "no queue 'w', 'x'"),
        ([], "no queue is given"),
    ],
)
def test_a_part_is_of_known_queues(path: Path, wanted: list[str], found: str) -> None:
    trace = read(path, QUEUED + "0,1,a\n1,2,b\n")
    with pytest.raises(ValueError, match="allowed") as caught:
        trace.only(wanted)
    assert str(caught.value) == f"t.csv: {found}; allowed: 'a', 'b'"


def test_a_trace_without_tasks_can_be_made() -> None:
    empty = Trace("none", array("d"), array("d"), ("a", "b"), array("H"))
    assert (empty.tasks, empty.work, empty.span) == (0, 0, 0)
    assert empty.only("a").tasks == 0


def test_arrivals_are_somewhere_in_their_second(path: Path) -> None:
    trace = read(path, ARRIVALS + "1700000000,1\n1700000009,0\n1700000003,400\n", RunTimes(2))
    assert trace.tasks == 401
    assert set(trace.runtimes) == {2}
    assert list(trace.published) == sorted(trace.published)
    assert trace.published[0] == 0
    spread = trace.published[-1] - trace.published[1]
    assert 0.95 < spread < 1
    assert 2 < trace.published[1] <= trace.span < 4


def test_arrivals_of_a_second_may_be_in_several_rows(path: Path) -> None:
    trace = read(path, "arrivals,host,second\n 50 ,a, -3 \n20,b,-2\n50,c,-3\n", RunTimes(1, 1))
    assert trace.tasks == 120
    assert list(trace.published) == sorted(trace.published)


def test_a_seed_decides_the_trace(path: Path) -> None:
    content = ARRIVALS + "0,10\n1,10\n"
    first, same, other = (read(path, content, RunTimes(2, 1), seed) for seed in (1, 1, 2))
    assert rows(first) == rows(same)
    assert first.published != other.published
    assert first.runtimes != other.runtimes


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 30)), max_size=30))
def test_no_arrival_is_lost(
    tmp_path_factory: pytest.TempPathFactory, counts: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.mktemp("arrivals") / "t.csv"
    content = ARRIVALS + "".join(f"{second},{arrivals}\n" for second, arrivals in [*counts, (0, 1)])
    trace = read(path, content, RunTimes(1))
    assert trace.tasks == len(trace.runtimes) == sum(arrivals for _, arrivals in counts) + 1
    times = list(trace.published)
    assert times == sorted(times)
    seconds = [second for second, arrivals in [*counts, (0, 1)] if arrivals]
    assert max(seconds) - min(seconds) - 1 <= trace.span <= max(seconds) - min(seconds) + 1


finite = st.floats(-1e9, 1e9)
names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1).filter(
    lambda name: name.strip() == name
)


@given(st.lists(st.tuples(finite, st.floats(0, 1e9), names), min_size=1))
def test_what_was_written_is_read_sorted(
    tmp_path_factory: pytest.TempPathFactory, tasks: list[tuple[float, float, str]]
) -> None:
    path = tmp_path_factory.mktemp("tasks") / "t.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("published_at", "runtime", "queue"), *tasks])
    trace = read_trace(path)
    first = min(at for at, _, _ in tasks)
    assert Counter(rows(trace)) == Counter((at - first, *rest) for at, *rest in tasks)
    assert list(trace.published) == sorted(trace.published)
    assert trace.published[0] == 0


FINITE = "a finite number"
FROM_0 = "a finite number, 0 or more"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", f"line 1: no header; allowed: {HEADERS}"),
        ("\n \n", f"line 1: no header; allowed: {HEADERS}"),
        ("\n0,1\n2,3\n", f"line 2: the header '0,1'; allowed: {HEADERS}"),
        ("published_at;runtime\n", f"line 1: the header 'published_at;runtime'; {HEADERS}"),
        ("runtime,second\n", f"line 1: the header 'runtime,second'; allowed: {HEADERS}"),
        ("runtime,published_at,runtime\n0,1,2\n", "line 1: more than one column runtime; one"),
        (QUEUED.strip() + ",queue\n0,1,2,3\n", "line 1: more than one column queue; one"),
        (TASKS, "line 1: no task below the header; a task or more"),
        (TASKS + "\n\n", "line 1: no task below the header; a task or more"),
        (TASKS + "0,1\n0,0,5\n", "line 3: the row is '0,0,5'; 2 fields, as in the header"),
        (TASKS + "0,1\n\n5\n", "line 4: the row is '5'; 2 fields, as in the header"),
        (QUEUED + "0,1\n", "line 2: the row is '0,1'; 3 fields, as in the header"),
        (
            "queue," + TASKS + "a,0\n",
            "line 2: the row is 'a,0'; 3 fields, as in the header",
        ),
        (TASKS + "0,1\nsoon,1\n", f"line 3: published_at is 'soon'; {FINITE}"),
        (TASKS + "2026-11-30 10:00,1\n", f"line 2: published_at is '2026-11-30 10:00'; {FINITE}"),
        (TASKS + ",\n", f"line 2: published_at is ''; {FINITE}"),
        (TASKS + "nan,x\n", f"line 2: published_at is 'nan'; {FINITE}"),
        (TASKS + "-inf,1\n", f"line 2: published_at is '-inf'; {FINITE}"),
        (TASKS + "1e999,1\n", f"line 2: published_at is '1e999'; {FINITE}"),
        (TASKS + "0,1\n\n0, long \n", f"line 4: runtime is 'long'; {FROM_0}"),
        (TASKS + "0,\n", f"line 2: runtime is ''; {FROM_0}"),
        (TASKS + "0,nan\n", f"line 2: runtime is 'nan'; {FROM_0}"),
        (TASKS + "0,inf\n", f"line 2: runtime is 'inf'; {FROM_0}"),
        (TASKS + "0,-0.5\n", f"line 2: runtime is '-0.5'; {FROM_0}"),
        (TASKS + '0,"1\n2"\n', f"line 2: runtime is '1\\n2'; {FROM_0}"),
        (TASKS + "-1e308,1\n1e308,1\n", "line 1: times too far apart; a difference that is a "),
        (QUEUED + "0,1,a\n0,1, \n", "line 3: queue is ''; a name, and at most 65,535 in all"),
        (TASKS + '0,1\n2,"3\n4,5\n', "line 3: a quote that is not closed; quotes in pairs"),
        (TASKS + '0,1,"\n4,5\n', "line 2: a quote that is not closed; quotes in pairs"),
        ('published_at,"runtime\n0,1', "line 1: a quote that is not closed; quotes in pairs"),
        (TASKS + "0,1\n0,1,\r2\n", "line 3: not CSV (new-line character seen in unquoted field"),
        (TASKS + '0,1\n0,1,"' + "x\n" * 70_000, "line 3: not CSV (field larger than field limit"),
        (TASKS.encode() + b"0,1\n0,1,\xe9t\xe9\n", f"line 3: b'\\xe9' is not UTF-8; {PACKED}"),
        (
            gzip.compress(TASKS.encode(), mtime=0),
            f"line 1: b'\\x8b' is not UTF-8; allowed: {PACKED}",
        ),
        (ARRIVALS + "0,0\n", "line 1: no task below the header; a task or more"),
        (ARRIVALS + "0,1\n1.5,1\n", f"line 3: second is '1.5'; {WHOLE}"),
        (ARRIVALS + "1000000000000000,1\n", f"line 2: second is '1000000000000000'; {WHOLE}"),
        (ARRIVALS + "0,1\n\n1,x\n", f"line 4: arrivals is 'x'; {WHOLE}, 0 or more"),
        (ARRIVALS + "0,1.0\n", f"line 2: arrivals is '1.0'; {WHOLE}, 0 or more"),
        (ARRIVALS + "0,-1\n", f"line 2: arrivals is '-1'; {WHOLE}, 0 or more"),
        (ARRIVALS + "0,nan\n", f"line 2: arrivals is 'nan'; {WHOLE}, 0 or more"),
        (ARRIVALS + "0\n", "line 2: the row is '0'; 2 fields, as in the header"),
        (ARRIVALS + "0,19999999999\n", "line 2: too many tasks; at most 20,000,000 in all"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    path: Path, content: str | bytes, message: str
) -> None:
    expected = message.replace("; ", "; allowed: ") if "allowed" not in message else message
    assert error(path, content, RunTimes(1)).startswith(expected)


def test_arrivals_need_run_times(path: Path) -> None:
    said = "line 2: arrivals without run times; allowed: these with --runtime MEAN"
    assert error(path, "\n" + ARRIVALS + "0,1\n") == said


def test_a_long_value_is_shortened(path: Path) -> None:
    said = error(path, TASKS + f"{'9' * 30_000}x,1\n")
    assert "..." in said
    assert len(said) < 200


def test_there_is_an_end_to_tasks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TASKS", 3)
    assert read(path, TASKS + "0,1\n" * 3).tasks == 3
    assert read(path, ARRIVALS + "0,1\n1,2\n", RunTimes(1)).tasks == 3
    said = "line 5: too many tasks; allowed: at most 3 in all"
    assert error(path, TASKS + "0,1\n" * 4) == said
    assert error(path, ARRIVALS + "0,1\n1,1\n2,1\n2,1\n", RunTimes(1)) == said


def test_there_is_an_end_to_queues(path: Path) -> None:
    content = QUEUED + "".join(f"0,1,{n}\n" for n in range(65_535))
    trace = read(path, content)
    assert len(trace.queues) == 65_535
    assert trace.only(["65534"]).tasks == 1
    with pytest.raises(ValueError, match=r"no queue 'x'; allowed: '0', .*'9', \.\.\.$"):
        trace.only(["x"])
    said = "line 65537: queue is 'more'; allowed: a name, and at most 65,535 in all"
    assert error(path, content + "0,1,more\n") == said


def test_there_is_an_end_to_a_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_LINE", 30)
    assert read(path, TASKS + "0,1," + " " * 25 + "\n").tasks == 1
    said = "line 2: a line too long; allowed: 30 bytes or fewer"
    assert error(path, TASKS + "0,1," + "x" * 26 + "\n") == said


def test_there_may_be_no_file(tmp_path: Path) -> None:
    said = "allowed: a file to be read"
    assert error(tmp_path / "none.csv") == f": No such file or directory; {said}"
    assert error(tmp_path) == f": Is a directory; {said}"


def test_a_name_cannot_break_the_message(tmp_path: Path) -> None:
    with pytest.raises(TraceError) as caught:
        read_trace("a\nb.csv")
    assert str(caught.value).startswith(r"'a\nb.csv': No such file")


def test_a_packed_file_may_be_broken(tmp_path: Path) -> None:
    path, content = tmp_path / "t.csv.gz", TASKS + "".join(f"{n},{n}\n" for n in range(9000))
    packed = gzip.compress(content.encode())
    broken = bytearray(packed)
    broken[-6] ^= 1
    assert error(path, content).startswith("line 1: cannot be read further (Not a gzipped file")
    assert error(path, content).endswith(f"; allowed: {PACKED}")
    truncated = error(path, packed[: len(packed) // 2])
    assert ": cannot be read further (Compressed file ended before" in truncated
    assert int(truncated.removeprefix("line ").partition(":")[0]) > 3000
    assert error(path, bytes(broken)).startswith("line 9002: cannot be read further (CRC check")
    broken = bytearray(packed)
    broken[10] = 0xFF
    assert error(path, bytes(broken)).startswith("line 1: cannot be read further (Error -3")
    assert error(path, b"") == f"line 1: no header; allowed: {HEADERS}"
