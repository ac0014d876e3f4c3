"""The page draws a week of ten pools: for eyes, keyboards and screen readers, wide and narrow."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from celery import Celery
from selenium.webdriver.common.keys import Keys

from celery_middle_management.ledger.redis import RedisLedger
from celery_middle_management.settings.reading import read_settings
from tests.benchmarks.week import SETTINGS, reporting, week
from tests.browser.site import Site, serve
from tests.browser.window import Window
from tests.servers import wait_for

LIGHT, DARK = "light", "dark"
#: The names of the marks of all plots.
MARKED = """
  return Bokeh.documents.flatMap((d) => d.roots()).flatMap((f) => f.renderers)
    .flatMap((r) => [...(r.data_source.data.what ?? [])]);
"""
#: The colours of the lines of the plot that was made last.
COLOURS = """
  return Bokeh.documents.at(-1).roots().flatMap((f) => f.renderers)
    .map((r) => JSON.stringify(r.glyph.line_color)).join();
"""
FOCUSED = """
  const e = document.activeElement;
  const name = e.id || e.getAttribute("aria-label") || e.value || e.innerText;
  const outline = getComputedStyle(e).outlineStyle, box = (e.labels?.[0] ?? e);
  return {name, tag: e.localName, outline, width: box.getBoundingClientRect().width};
"""

#: Making a week takes long where much else runs.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def site(redis_url_of_module: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    app = Celery(broker=redis_url_of_module, set_as_current=False)
    app.conf.update(SETTINGS)
    settings = read_settings(app)
    assert settings is not None
    ledger = RedisLedger(settings)
    made = week(settings, ledger.snapshot().now, trouble=True)
    made.write(ledger)
    directory = tmp_path_factory.mktemp("site")
    with (
        reporting(ledger, made),
        serve(redis_url_of_module, directory, "tests.benchmarks.week_app", web_actions="true") as s,
    ):
        yield s


@pytest.fixture
def page(site: Site, window: Window) -> Window:
    """The page, drawn."""
    window.open(site.entrance)
    window.drawn()
    return window


def choose(page: Window, span: str) -> None:
    page.run(f"document.querySelector('input[name=span][value={span}]').click()")


def test_it_draws_without_an_error_and_without_help_from_elsewhere(
    site: Site, page: Window
) -> None:
    for span in ("day", "week", "hour"):
        choose(page, span)
        page.drawn()
    assert page.hosts() == {f"127.0.0.1:{site.port}"}
    assert page.console() == []


def test_what_is_wrong_is_at_the_top_in_the_words_of_the_command(site: Site, page: Window) -> None:
    troubles = [trouble["what"] for trouble in json.loads(site.mm("status", "--json"))["trouble"]]
    assert len(troubles) >= 2
    page.says(*(what[:60] for what in troubles))
    alert = page.one("[role=alert]")
    assert alert.location["y"] < page.one("#totals").location["y"]
    assert page.run("return document.title").startswith(f"({len(troubles)} wrong)")


def test_every_decision_is_marked_on_the_plot_and_in_the_list(page: Window) -> None:
    choose(page, "week")
    page.drawn()
    wait_for(lambda: len(page.run(MARKED)) == 1000)
    marks = page.run(MARKED)
    for what in ("hire 1 → 2", "fire 2 → 1", "trouble"):
        assert sum(mark.startswith(what) for mark in marks) > 0
    choose(page, "hour")
    wait_for(lambda: 0 < len(page.run(MARKED)) < 200)
    marks = page.run(MARKED)
    while page.all("#more"):
        page.one("#more").click()
    listed = page.texts("#decisions li strong")
    assert sorted(listed) == sorted(marks)
    reasons = page.texts("#decisions li .why")
    assert len(reasons) == len(listed)
    hires = [why for what, why in zip(listed, reasons, strict=True) if what.startswith("hire")]
    assert hires
    assert all("need" in why for why in hires)


def test_a_pause_is_shaded_until_the_last_of_it_ends(page: Window) -> None:
    """A pause does not end an earlier one."""

    def at(minute: int) -> str:
        return f"2026-11-29T10:{minute:02}:00+00:00"

    def shaded(*entries: dict[str, Any]) -> list[tuple[int, int]]:
        found = page.run(
            "const [entries, at] = arguments;"
            "return import(document.getElementById('script').src.replace('page.js', 'series.js'))"
            ".then((series) => series.periods(entries, { at, trouble: [] }))",
            [{"pool": None, **entry} for entry in reversed(entries)],
            at(50),
        )
        start = datetime.fromisoformat(at(0)).timestamp()
        return [
            (round(p["from"] / 60000 - start / 60), round(p["to"] / 60000 - start / 60))
            for p in found
        ]

    lasting = {"action": "pause", "at": at(1), "until": None}
    short = {"action": "pause", "at": at(5), "until": at(9)}
    assert shaded(lasting, short) == [(1, 50)]
    assert shaded(lasting, short, {"action": "resume", "at": at(20)}) == [(1, 20)]
    assert shaded({**lasting, "until": at(7)}, short) == [(1, 9)]
    assert shaded({**lasting, "until": at(3)}, short) == [(1, 3), (5, 9)]


def test_a_draining_worker_is_named_with_its_task(page: Window) -> None:
    page.run("document.querySelectorAll('details').forEach((each) => each.open = true)")
    page.says("video.3 for 1", "shop.video.run for", "1 draining")


def test_one_pool_can_be_looked_at(page: Window) -> None:
    choose(page, "day")
    page.run(
        "const s = document.getElementById('which'); s.value = 'pdf';"
        "s.dispatchEvent(new Event('change'))"
    )
    pools = {*page.texts("#decisions li .pool")}
    assert pools <= {"pdf", "all pools"}
    assert "of pdf" in page.one("[data-plot=workers] .plot").get_attribute("aria-label")


@pytest.mark.parametrize("span", ["hour", "week"])
def test_nothing_is_wider_than_a_telephone(page: Window, span: str) -> None:
    page.size(360, 740)
    choose(page, span)
    page.run("document.querySelectorAll('details').forEach((each) => each.open = true)")
    page.drawn()
    assert page.run("return innerWidth") == 360
    assert page.run("return document.documentElement.scrollWidth") == 360
    wait_for(lambda: page.run("return document.querySelector('#plots figure').clientWidth") <= 360)
    cut = page.run(
        "return [...document.querySelectorAll('body *')].filter((e) => !e.closest('.unseen, .skip')"
        "&& e.getBoundingClientRect().right > 361).map((e) => e.outerHTML.slice(0, 80))"
    )
    assert cut == []


def luminance(page: Window) -> float:
    colour = page.run("return getComputedStyle(document.documentElement).backgroundColor")
    channels = [int(part) for part in colour.partition("(")[2].rstrip(")").split(",")[:3]]
    return sum(channels) / 3


def test_it_is_dark_for_those_who_prefer_that_even_if_they_change_their_mind(page: Window) -> None:
    assert luminance(page) > 200
    colours = page.run(COLOURS)
    page.media(prefers_color_scheme=DARK)
    wait_for(lambda: luminance(page) < 60)
    wait_for(lambda: page.run(COLOURS) != colours)
    page.drawn()
    page.media(prefers_color_scheme=LIGHT)
    wait_for(lambda: luminance(page) > 200)
    page.drawn()
    assert page.console() == []


def test_the_keyboard_reaches_everything_and_shows_where_it_is(page: Window) -> None:
    # In an hour of the night there are too few decisions for a button that shows more.
    page.run("document.querySelector('input[name=span][value=week]').click()")
    page.says("in the last week")
    reached = []
    for _ in range(60):
        page.press(Keys.TAB)
        reached.append(page.run(FOCUSED))
        if reached[-1]["tag"] == "body":
            break
    names = [each["name"] for each in reached]
    expected = ["pause", "resume", "week", "which"]
    assert [name for name in names if name in expected] == expected
    tags = [each["tag"] for each in reached]
    assert tags.count("summary") == 10
    assert {"Hire workers of pdf", "Fire workers of pdf", "more"} <= {*names}
    for each in reached[:-1]:
        assert each["outline"] != "none", each
        assert each["width"] > 0


def test_the_keyboard_does_everything(page: Window) -> None:
    page.run("document.querySelector('input[name=span]:checked').focus()")
    page.press(Keys.ARROW_RIGHT)
    page.says("in the last day")
    page.press(Keys.ARROW_RIGHT)
    page.says("in the last week")
    page.run("document.querySelector('details:not([open]) summary').focus()")
    page.press(Keys.ENTER)
    assert page.run("return document.activeElement.parentElement.open")
    page.run("document.getElementById('pause').focus()")
    page.press(Keys.ENTER)
    wait_for(lambda: page.run("return document.getElementById('dialog').open"))
    assert page.run("return document.activeElement.closest('dialog') !== null")
    page.press(Keys.ESCAPE)
    wait_for(lambda: page.run("return document.activeElement.id") == "pause")


def test_the_plots_and_their_numbers_are_told_to_screen_readers(page: Window) -> None:
    def labelled() -> bool:
        labels = [each.get_attribute("aria-label") or "" for each in page.all("#plots [role=img]")]
        names = ["waiting: ", "mean wait: ", "workers: "]
        return len(labels) == len(names) and all(
            name in label and "at most" in label for name, label in zip(names, labels, strict=True)
        )

    wait_for(labelled)
    wait_for(lambda: page.run("return document.getElementById('spoken').textContent"))
    assert page.run("return document.getElementById('spoken').ariaLive") == "polite"


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, which checks the rules of WCAG."""
    npm, directory = shutil.which("npm"), tmp_path_factory.mktemp("axe")
    script = directory / "node_modules" / "axe-core" / "axe.min.js"
    if npm:
        install = [npm, "install", "--no-save", "--no-audit", "--no-fund", "axe-core@4"]
        subprocess.run(install, cwd=directory, capture_output=True, check=False, timeout=60)
    if not script.exists():
        pytest.skip("axe-core could not be installed: it needs npm and the network")
    return script.read_text()


@pytest.mark.parametrize(
    ("scheme", "width"), [(LIGHT, 1200), (DARK, 1200), (LIGHT, 360), (DARK, 360)]
)
def test_it_keeps_the_rules_of_accessibility(
    page: Window, axe: str, scheme: str, width: int
) -> None:
    page.media(prefers_color_scheme=scheme)
    page.size(width, 900)
    page.run("document.querySelectorAll('details').forEach((each) => each.open = true)")
    page.drawn()
    assert violations(page, axe) == []
    page.command("Network.setBlockedURLs", urls=["*/data?*"])
    page.says("what you see is from then")
    assert violations(page, axe) == []
    page.run("document.getElementById('pause').click()")
    assert violations(page, axe) == []


def violations(page: Window, axe: str) -> list[Any]:
    page.run(f"{axe}; window.axe = axe")
    found = page.driver.execute_async_script(
        "const done = arguments[1];"
        "axe.run({runOnly: arguments[0]})"
        ".then((r) => done(r.violations), (e) => done([String(e)]))",
        ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    )
    return [
        [rule["id"], rule["help"], [node["html"][:120] for node in rule["nodes"][:3]]]
        if isinstance(rule, dict)
        else rule
        for rule in found
    ]


def test_all_that_it_loads_is_small(page: Window) -> None:
    """On the wire, compressed."""
    page.requests()
    page.driver.get_log("performance")
    page.command("Network.clearBrowserCache")
    page.driver.refresh()
    page.drawn()
    entries = [json.loads(e["message"])["message"] for e in page.driver.get_log("performance")]
    ended = [e["params"] for e in entries if e["method"] == "Network.loadingFinished"]
    sizes = [each["encodedDataLength"] for each in ended]
    assert 100_000 < sum(sizes) < 1_500_000
