"""The report of a simulation: that it is whole, needs nothing else, and can be read."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from html.parser import HTMLParser
from itertools import combinations, pairwise
from math import inf, nan
from random import Random
from xml.etree import ElementTree

import pytest

from celery_middle_management.sim.outcome import Moment, Outcome, Waits
from celery_middle_management.sim.report import figures, plot_svg, report_html
from celery_middle_management.sim.report.drawing import (
    COLOURS,
    linear,
    logarithmic,
    shortened,
    until,
    width_of,
)
from celery_middle_management.sim.report.labels import MARK, Box, place
from celery_middle_management.sim.report.plots import cut_off

SVG = "{http://www.w3.org/2000/svg}"
NASTY = (
    '</title><script>alert(1)</script> & "quo\'tes" \x00\x1b[31m \ud800 $cost ${rows} https://x.y'
)
EMPTY = ("meta", "link", "br", "hr", "img", "input")


def outcome(  # noqa: PLR0917 - each is another kind of thing
    policy: str = "fixed:5",
    paid: float = 3600.0,
    p95: float = 12.0,
    killed: int = 0,
    timeline: tuple[Moment, ...] = (Moment(0, 0, 3, 0), Moment(60, 2, 1, 2), Moment(90, 1, 0, 0)),
    longest: tuple[float, ...] = (12.0, 0.0, 0.0),
) -> Outcome:
    waits = Waits(p95 / 2, p95 / 3, p95, p95 * 1.5, p95 * 2)
    return Outcome(policy, paid, waits, killed, 7, 4, 0.62, 3, timeline, longest)


def page(
    outcomes: Sequence[Outcome], title: str = "a trace", *, monthly: float = 25.0, slots: int = 1
) -> str:
    return report_html(title, [("tasks", "3")], outcomes, [36.0] * len(outcomes), monthly, slots)


class Reader(HTMLParser):
    """Reads a page, and objects if its tags are not balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in {"th", "td"}:
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data


EXTREMES = {
    "none": [],
    "one": [outcome()],
    "two": [outcome("a"), outcome("b", 7200, 24)],
    "twenty": [outcome(f"hirefire:{n}@15", 3600 + 20 * n, 9 + n % 5, n % 3) for n in range(20)],
    "equal": [outcome(f"jobs_per_worker:{n}") for n in range(20)],
    "no timeline": [outcome(timeline=(), longest=()), outcome("b", timeline=(), longest=())],
    "no waits": [outcome("a", p95=0.0, longest=(0.0, 0.0, 0.0)), outcome("b", 2, 0.0, longest=())],
    "nothing": [outcome(paid=0.0, p95=0.0, timeline=(Moment(0, 0, 0, 0),), longest=(0.0,))],
    "far apart": [outcome("a", 1, 0.0), outcome("b", 1e4, 0.002), outcome("c", 1e9, 1e6)],
    "huge": [
        outcome("a", 1e300, 1e300, 10**9, (Moment(1e300, 10**30, 10**40, 10**30),), (1e300,)),
        outcome("b", 1e-12, 1e-12),
    ],
    "no numbers": [outcome("a", inf, inf), outcome("b", nan, nan, longest=(nan, inf)), outcome()],
    "nasty": [outcome(NASTY), outcome("長い名前" * 40), outcome(""), outcome("a b\nc" * 99)],
    "stays": [outcome("a"), outcome("b", timeline=(*outcome().timeline, Moment(9e4, 1, 0, 0)))],
}


@pytest.mark.parametrize("monthly", [25.0, 0.0])
@pytest.mark.parametrize("name", EXTREMES)
def test_whatever_the_outcomes_are_the_page_is_whole(name: str, monthly: float) -> None:
    text = page(EXTREMES[name], NASTY, monthly=monthly, slots=4)
    text.encode()
    read = Reader(text)
    assert "script" not in dict(read.tags)
    assert len(read.rows) == 2 + len(EXTREMES[name])
    assert len({len(row) for row in read.rows[2:]}) <= 1
    drawings = re.findall(r"<svg .*?</svg>", text, re.DOTALL)
    assert len(drawings) == 2 + len(EXTREMES[name])
    for drawing in drawings:
        assert_drawn(ElementTree.fromstring(drawing))


@pytest.mark.parametrize("monthly", [25.0, 0.0])
@pytest.mark.parametrize("name", EXTREMES)
def test_whatever_the_outcomes_are_the_plot_is_well_formed(name: str, monthly: float) -> None:
    root = ElementTree.fromstring(plot_svg(EXTREMES[name], monthly, NASTY))
    assert root.tag == f"{SVG}svg"
    assert_drawn(root)
    assert len(root.findall(f"{SVG}g")) == len(EXTREMES[name])


def assert_drawn(root: ElementTree.Element) -> None:
    """It has a title, a description and no point outside."""
    texts = {element.tag.removeprefix(SVG): element.text for element in root}
    assert texts["title"]
    assert texts["desc"]
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    for element in root.iter():
        for name, most in (("x", width), ("cx", width), ("y", height), ("cy", height)):
            assert 0 <= float(element.get(name, 0)) <= most
        assert not re.search("nan|inf", element.get("d", ""))


@pytest.mark.parametrize("name", EXTREMES)
def test_no_name_in_a_plot_is_on_another_one_or_outside(name: str) -> None:
    text = page(EXTREMES[name])
    for drawing in re.findall(r'<svg class="(?:broad|narrow)".*?</svg>', text, re.DOTALL):
        root = ElementTree.fromstring(drawing)
        width, height = map(float, root.attrib["viewBox"].split()[2:])
        names = [element for element in root.iter("text") if element.get("class") == "name"]
        assert len(names) == len(EXTREMES[name])
        boxes = [box_of(element) for element in names]
        assert not [pair for pair in combinations(boxes, 2) if pair[0].meets(pair[1])]
        assert all(box == box.within(Box(0, 0, width, height)) for box in boxes)


def box_of(element: ElementTree.Element) -> Box:
    text, x, y = element.text or "", float(element.attrib["x"]), float(element.attrib["y"])
    wide = width_of(text, 13)
    left = x - wide * {"start": 0.0, "middle": 0.5, "end": 1.0}[element.attrib["text-anchor"]]
    return Box(left, y - 10, left + wide, y + 3)


@pytest.mark.parametrize("count", [1, 2, 9, 20, 40])
def test_labels_keep_clear_of_each_other_and_of_all_points(count: int) -> None:
    inside = Box(50, 20, 900, 520)
    for seed in range(5):
        random = Random(seed)
        points = [
            (random.gauss(700, 60 * seed), random.gauss(300, 40 * seed)) for _ in range(count)
        ]
        points = [(min(max(x, 50), 890), min(max(y, 30), 510)) for x, y in points]
        boxes = [box for box in place(points, [(120.0, 15.0)] * count, inside) if box]
        assert len(boxes) == count
        assert all(box == box.within(inside) for box in boxes)
        assert not [pair for pair in combinations(boxes, 2) if pair[0].meets(pair[1])]
        marks = [Box(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in points]
        assert not [1 for box in boxes for mark in marks if box.meets(mark)]


def test_a_label_that_there_is_no_room_for_is_left_out() -> None:
    assert place([(50.0, 50.0)], [(200.0, 15.0)], Box(0, 0, 100, 100)) == [None]


def test_many_equal_points_take_no_long_time() -> None:
    began = time.monotonic()
    place([(400.0, 200.0)] * 25, [(150.0, 15.0)] * 25, Box(50, 20, 900, 520))
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("text", [page(EXTREMES["twenty"]), plot_svg(EXTREMES["two"], 25.0, "t")])
def test_nothing_is_fetched(text: str) -> None:
    text = text.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?:|//|url\(|@import|<script|\ssrc=|\son\w+=", text)
    assert re.findall(r'href="(.*?)"', text) in ([], ["data:,"])


def test_what_users_wrote_is_escaped() -> None:
    text = report_html(NASTY, [(NASTY, NASTY)], [outcome(NASTY)], [1.0], 25.0, 1)
    shown = NASTY.replace("\x00", "\ufffd").replace("\x1b", "\ufffd").replace("\ud800", "\ufffd")
    assert "<script" not in text
    read = Reader(text)
    assert read.text.count(shown) >= 7
    assert read.rows[-1][0] == shown


def test_the_table_has_all_figures() -> None:
    read = Reader(page([outcome("a", 5400, 250.0, 3), outcome("b", 1800, 0.3)]))
    assert read.rows[0][:3] == ["policy", "paid hours", "cost"]
    assert read.rows[1] == ["mean", "p50", "p95", "p99", "max"]
    a = "a|1.50|$0.051|2 min 5 s|1 min 23 s|4 min 10 s|6 min 15 s|8 min 20 s|3|7|4|62 %|3|0.01"
    b = "b|★ 0.50|★ $0.017|★ 0.15 s|★ 0.1 s|★ 0.3 s|★ 0.45 s|★ 0.6 s|★ 0|7|4|62 %|3|0.01"
    assert ["|".join(row).replace(" (best)", "") for row in read.rows[2:]] == [a, b]


def test_what_more_than_half_share_is_not_marked() -> None:
    rows = Reader(page([outcome("a"), outcome("b"), outcome("c", 9000)])).rows[2:]
    assert [row[1] for row in rows] == ["1.00", "1.00", "2.50"]
    assert "★" not in "".join(Reader(page([outcome()])).rows[-1])


def test_without_a_price_there_are_no_dollars() -> None:
    text = page([outcome()], monthly=0.0)
    assert "$" not in text
    assert "Paid hours against waits" in text


def test_policies_that_killed_have_another_mark_and_a_legend() -> None:
    clean = ElementTree.fromstring(plot_svg([outcome()], 25.0, "t"))
    assert "tasks killed" not in {text.text for text in clean.iter(f"{SVG}text")}
    assert not clean.findall(f".//{SVG}path[@class='killed']")
    killed = ElementTree.fromstring(plot_svg([outcome(), outcome("b", killed=2)], 25.0, "t"))
    assert {"tasks killed", "no task killed"} <= {text.text for text in killed.iter(f"{SVG}text")}
    assert len(killed.findall(f"{SVG}g/{SVG}path[@class='killed']")) == 1
    assert len(killed.findall(f"{SVG}g/{SVG}circle[@class='kept']")) == 1


def test_waits_far_apart_are_drawn_on_a_logarithmic_axis_which_has_0() -> None:
    near = plot_svg([outcome("a", p95=1.0), outcome("b", p95=49.0)], 25.0, "t")
    far = plot_svg([outcome("a", p95=0.0), outcome("b", p95=1), outcome("c", p95=60)], 25.0, "t")
    assert "p95 wait (logarithmic)" not in near
    assert "p95 wait (logarithmic)" in far
    x = [float(at) for at in re.findall(r'<circle cx="([\d.]+)" ', far)]
    labels = {e.text: float(e.attrib["x"]) for e in ElementTree.fromstring(far).iter(f"{SVG}text")}
    assert x == sorted(x)
    assert labels["0"] == x[0]
    assert labels["1 s"] == x[1]
    assert labels["1 min"] == x[2]


def test_a_drawing_ends_soon_after_the_tasks() -> None:
    assert cut_off([outcome()]) == 90
    assert cut_off(EXTREMES["stays"]) == pytest.approx(66)
    assert cut_off([]) == cut_off([outcome(timeline=())]) == 0
    assert "Not all is drawn: it took until 25:00:00" in page(EXTREMES["stays"])


def test_running_tasks_are_drawn_in_slots() -> None:
    def area(slots: int) -> str:
        found = re.search(r'd="(\S+ [^"]*)" class="running"', page([outcome()], slots=slots))
        assert found
        return found[1]

    # Two running tasks fill both workers, or half of them with two slots each.
    tops = [min(map(float, re.findall(r"V([\d.]+)", area(slots)))) for slots in (1, 2)]
    bottom = max(map(float, re.findall(r"V([\d.]+)", area(1))))
    assert bottom - tops[0] == pytest.approx(2 * (bottom - tops[1]))


@pytest.mark.parametrize("which", [0, 1])
def test_text_has_contrast(which: int) -> None:
    def luminance(name: str) -> float:
        code = COLOURS[name][which]
        parts = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for text in ("ink", "muted", "well"):
        for ground in ("ground", "card"):
            light, dark = sorted((luminance(text), luminance(ground)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5


@pytest.mark.parametrize("high", [1e-6, 0.07, 1, 3, 59, 61, 1204, 7e4, 1e7, 1e300])
@pytest.mark.parametrize("times", [False, True])
def test_ticks_are_few_and_reach_the_end(high: float, times: bool) -> None:
    scale = linear(high, 200, 0, most=5, times=times)
    assert 2 <= len(scale.ticks) <= 7
    assert scale.ticks[0] == 0
    assert scale.ticks[-1] >= high * (1 - 1e-6)
    assert scale(0) == 200
    assert 0 <= scale(high) <= 130
    assert until(high, 0, 300, most=4)(high) == 300


def test_ticks_of_whole_things_are_whole() -> None:
    assert linear(1, 0, 1, most=4, whole=True).ticks == (0, 1)
    assert linear(0, 0, 1, most=4, whole=True).ticks == (0, 1)


@pytest.mark.parametrize(
    "values", [[1, 60], [0.002, 1e6], [0, 1e-8, 1e300], [22, 1184], [61, 3600]]
)
@pytest.mark.parametrize("times", [False, True])
def test_ticks_of_a_logarithmic_axis_are_few(values: list[float], times: bool) -> None:
    scale = logarithmic(values, 50, 900, most=8, times=times)
    places = [scale(tick) for tick in scale.ticks]
    assert 2 <= len(places) <= 9
    assert min(b - a for a, b in pairwise(places)) > 20
    assert all(50 <= scale(value) <= 900 for value in values)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        *((0, "0 s"), (1e-7, "0 s"), (0.3, "0.3 s"), (0.012, "0.012 s"), (4.23, "4.2 s")),
        *((9.97, "10 s"), (12.4, "12 s"), (59.6, "1 min"), (250, "4 min 10 s"), (3599.6, "1 h")),
        *((11111, "3 h 5 min"), (172799, "2 d"), (188000, "2 d 4 h"), (1e9, "11,574 d")),
        *((inf, "∞"), (nan, "?")),
    ],
)
def test_waits_in_words(seconds: float, shown: str) -> None:
    assert figures.wait(seconds) == shown


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        *((0, "$0"), (0.00013, "$0.00013"), (0.004, "$0.004"), (0.0996, "$0.10")),
        *((0.996, "$1.00"), (12.3, "$12.30"), (999.996, "$1,000"), (1234.4, "$1,234")),
        *((1e12, "$1e+12"), (inf, "∞"), (nan, "?")),
    ],
)
def test_dollars_in_words(amount: float, shown: str) -> None:
    assert figures.dollars(amount) == shown


def test_other_numbers_in_words() -> None:
    assert [figures.clock(at) for at in (0, 59.6, 3725, 360_000)] == [
        *("0:00:00", "0:01:00", "1:02:05", "100:00:00"),
    ]
    assert [figures.share(part) for part in (0, 0.0941, 0.937, 1)] == [
        *("0 %", "9.4 %", "94 %", "100 %"),
    ]
    assert [figures.axis(number) for number in (0, 0.5, 1500, 20_000, 5e6)] == [
        *("0", "0.5", "1500", "20k", "5M"),
    ]
    assert [figures.round_wait(wait) for wait in (0, 0.01, 30, 5400, 7200, 172_800)] == [
        *("0", "0.01 s", "30 s", "90 min", "2 h", "2 d"),
    ]


def test_long_names_are_shortened() -> None:
    assert shortened("fixed:5", 13, 200) == "fixed:5"
    assert shortened("a\n b", 13, 200) == "a b"
    assert shortened("x" * 99, 13, 100).endswith("…")
    assert width_of(shortened("x" * 99, 13, 100), 13) <= 100
