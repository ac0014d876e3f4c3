"""The page follows an app at work, and its buttons change what the app does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from celery_middle_management.demo.redis_server import RedisServer
from celery_middle_management.ledger.manual_scaling import me
from tests.browser.site import Site, serve
from tests.browser.window import Window
from tests.integration.web_apps import GUNICORN, LIVE, PANEL, PEOPLE, django, serving
from tests.servers import wait_for

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def site(redis_url_of_module: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    with serve(redis_url_of_module, directory, web_actions="true") as site:
        yield site


@pytest.fixture
def page(site: Site, window: Window) -> Window:
    window.open(site.entrance)
    window.drawn()
    return window


@pytest.fixture
def at_rest(site: Site, page: Window) -> Window:
    """The page of an app that has had workers, and has none."""
    if site.state("worker/quantity") is None:
        site.publish(1, 0.0)
    wait_for(lambda: site.state("worker/quantity") == "0", 60.0, site.log)
    wait_for(lambda: total(page, "Workers") == "0")
    return page


def total(page: Window, what: str) -> str:
    """A number at the top of the page."""
    told = dict(each.splitlines()[:2] for each in page.texts("#totals .total"))
    return told.get(what, "")


def decisions(page: Window) -> list[str]:
    """What was done, the latest first."""
    return page.texts("#decisions li strong")


def latest(site: Site) -> dict[str, Any]:
    return json.loads(site.actions()[0])


#: JavaScript by which the answer to the next request does not come, or comes when it is told to.
LOSE_ONE_ANSWER = """
  const fetched = window.fetch;
  window.fetch = async (address, options = {}) => {
    const answer = await fetched(address, options);
    if (options.method !== "POST") return answer;
    window.fetch = fetched;
    throw new TypeError("lost");
  };
"""
LOSE_ONE_REQUEST = """
  const fetched = window.fetch;
  window.fetch = async (address, options = {}) => {
    if (options.method !== "POST") return fetched(address, options);
    window.fetch = fetched;
    throw new TypeError("lost");
  };
"""
HOLD_ONE_ANSWER = """
  const fetched = window.fetch;
  window.fetch = async (address, options = {}) => {
    const answer = await fetched(address, options);
    if (options.method !== "POST") return answer;
    window.fetch = fetched;
    await new Promise((done) => { window.goOn = done; });
    return answer;
  };
"""


def press(page: Window, button: str) -> None:
    """A button, as a person would by the keyboard."""
    page.run("arguments[0].focus()", page.one(button))
    page.press(Keys.ENTER)


def ask(page: Window, button: str, number: int | None = None) -> None:
    """Press a button, and fill in and send its dialog."""
    press(page, button)
    wait_for(lambda: page.all("dialog"))
    if number is not None:
        page.run(f"document.querySelector('[name=number]').value = {number}")
    press(page, "#do")


def closed(page: Window) -> bool:
    return not page.all("dialog")


def test_it_follows_a_run_from_nothing_to_nothing(site: Site, page: Window) -> None:
    page.run("window.sameAsEver = true")
    page.says("no hire and no fire yet")
    site.publish(6, 2.0)
    wait_for(lambda: total(page, "Workers") == "3", 60.0, page.text)
    assert "hire 0 → 3" in decisions(page)
    wait_for(lambda: total(page, "Running") not in ("", "0"), 60.0, page.text)
    page.says("working")
    wait_for(lambda: total(page, "Workers") == "0", 90.0, page.text)
    assert (total(page, "Waiting"), total(page, "Running")) == ("0", "0")
    assert "→ 0" in next(each for each in decisions(page) if each.startswith("fire"))
    page.says("6 tasks at 2 per worker need 3", "at rest")
    marks = page.run(
        "return Bokeh.documents.flatMap((d) => d.roots()).flatMap((f) => f.renderers)"
        ".flatMap((r) => [...(r.data_source.data.what ?? [])])"
    )
    assert "hire 0 → 3" in marks
    assert page.run("return window.sameAsEver")
    assert page.console() == []


def test_pause_and_resume(site: Site, at_rest: Window) -> None:
    page = at_rest
    ask(page, "#pause")
    wait_for(lambda: closed(page))
    page.says("Paused", f"no hires and no fires, by {me()}", "until it is resumed")
    assert (latest(site)["action"], latest(site)["by"]) == ("pause", me())
    assert json.loads(site.mm("status", "--json"))["pause"]["by"] == me()
    press(page, "#resume")
    wait_for(lambda: latest(site)["action"] == "resume")
    wait_for(lambda: not page.all("#states .band"), message=page.text)
    assert latest(site)["by"] == me()


def test_hire_and_fire(site: Site, at_rest: Window) -> None:
    page = at_rest
    ask(page, "[aria-label='Hire workers of worker']", 2)
    wait_for(lambda: closed(page))
    asked = json.loads(next(each for each in site.actions() if '"ask to hire"' in each))
    assert (asked["from"], asked["to"], asked["by"]) == (0, 2, me())
    wait_for(lambda: total(page, "Workers") == "2", 60.0, page.text)
    page.says("at least 2 workers", me())
    ask(page, "[aria-label='Fire workers of worker']", 1)
    wait_for(lambda: closed(page))
    asked = json.loads(next(each for each in site.actions() if '"ask to fire"' in each))
    assert (asked["from"], asked["to"], asked["by"]) == (2, 1, me())
    press(page, "#resume")
    wait_for(lambda: latest(site)["action"] in ("resume", "fire"))
    wait_for(lambda: total(page, "Workers") == "0", 60.0, page.text)


def test_an_answer_that_is_lost_is_said_and_sent_again_it_is_done_once(
    site: Site, at_rest: Window
) -> None:
    def asked() -> int:
        return sum('"ask to hire"' in each for each in site.actions())

    page, before = at_rest, asked()
    page.run(LOSE_ONE_ANSWER)
    ask(page, "[aria-label='Hire workers of worker']", 1)
    page.says("may have done it or not", "Sent again from here, it is done once")
    press(page, "#do")
    wait_for(lambda: closed(page))
    assert asked() == before + 1
    page.run(LOSE_ONE_REQUEST)
    press(page, "#resume")
    page.says("Resume: The server does not answer")
    press(page, "#resume")
    wait_for(lambda: not page.all("#failed"))
    wait_for(lambda: total(page, "Workers") == "0", 60.0, page.text)


def test_each_of_two_pauses_has_its_own_end(site: Site, at_rest: Window) -> None:
    page = at_rest
    site.mm("pause", "--hires", "--for", "10m")
    site.mm("pause", "--fires", "--for", "2h")
    page.says(f"no hires, by {me()}, until", f"; no fires, by {me()}, until")
    site.mm("resume")
    wait_for(lambda: not page.all("#states .band"), message=page.text)


def test_a_resume_whose_answer_is_lost_does_not_stand_for_a_later_one(
    site: Site, at_rest: Window
) -> None:
    page = at_rest
    site.mm("pause")
    page.says("no hires and no fires")
    page.run(LOSE_ONE_ANSWER)
    press(page, "#resume")
    wait_for(lambda: latest(site)["action"] == "resume")
    wait_for(lambda: not page.all("#states .band"), message=page.text)
    wait_for(lambda: not page.all("#failed"), message=page.text)
    site.mm("pause")
    page.says("no hires and no fires")
    press(page, "#resume")
    wait_for(lambda: not page.all("#states .band"), message=page.text)
    assert latest(site)["action"] == "resume"


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, '{"detail": "Not authenticated"}', "You may no longer see this page."),
        (403, '{"message": "No"}', "You may no longer see this page."),
        (403, "null", "You may no longer see this page."),
        (404, '["nothing"]', "The request was refused with status 404."),
        (429, "null", "The request was refused with status 429."),
        (429, '{"error": {"code": 7}}', "The request was refused with status 429."),
        (429, "Slow down", "The request was refused with status 429."),
    ],
)
def test_a_refusal_by_the_web_app_around_the_page_is_said(
    page: Window, status: int, body: str, said: str
) -> None:
    page.run(
        "const [body, status] = arguments;window.fetch = async () => new Response(body, {status});",
        *(body, status),
    )
    page.says(said[:-1])
    press(page, "#resume")
    page.says(f"Resume: {said}")
    assert "does not answer" not in page.text()
    assert page.console() == []


def test_a_dialog_gets_no_answer_to_another_one_and_begins_anew(
    site: Site, at_rest: Window
) -> None:
    page = at_rest
    page.run(HOLD_ONE_ANSWER)
    ask(page, "[aria-label='Fire workers of worker']", 7)
    press(page, "#cancel")
    wait_for(lambda: closed(page))
    press(page, "#pause")
    page.run("window.goOn()")
    page.says("Fire workers: worker: Worker has 0 workers")
    assert not closed(page)
    assert page.texts("#dialog-error") == [""]
    press(page, "#cancel")
    press(page, "[aria-label='Hire workers of worker']")
    assert page.run("return document.querySelector('[name=number]').value") == "1"
    press(page, "#cancel")


def test_a_limit_is_kept_and_said(site: Site, at_rest: Window) -> None:
    page, before = at_rest, site.actions()
    ask(page, "[aria-label='Fire workers of worker']", 1)
    page.says("Worker has 0 workers, and its min_workers is 0.")
    assert site.actions() == before
    press(page, "#cancel")
    ask(page, "[aria-label='Hire workers of worker']", 7)
    wait_for(lambda: closed(page))
    page.says("not 7 more: max_workers is 3")
    wait_for(lambda: total(page, "Workers") == "3", 60.0, page.text)
    asked = len([each for each in site.actions() if '"ask to hire"' in each])
    ask(page, "[aria-label='Hire workers of worker']", 1)
    page.says("Worker has 3 workers, and its max_workers is 3.")
    assert len([each for each in site.actions() if '"ask to hire"' in each]) == asked
    press(page, "#cancel")
    press(page, "#resume")
    wait_for(lambda: total(page, "Workers") == "0", 60.0, page.text)


def test_without_the_setting_there_are_no_buttons(
    redis_url: str, window: Window, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with serve(redis_url, tmp_path_factory.mktemp("site")) as site:
        window.open(site.entrance)
        window.drawn()
        assert window.all("button") == []
        window.says("may look, but not act")


def test_redis_goes_and_comes_back(
    window: Window, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with (
        RedisServer() as server,
        serve(server.url, tmp_path_factory.mktemp("site"), web_actions="true") as site,
    ):
        window.open(site.entrance)
        window.drawn()
        for goes, comes in ((server.kill, server.restart), (server.pause, server.resume)):
            goes()
            wait_for(lambda: window.all("#connection"), message=window.text)
            window.says("Redis", "What you see is from")
            window.drawn()
            assert total(window, "Workers") != ""
            comes()
            wait_for(lambda: not window.all("#connection"), message=window.text)


def test_the_server_goes(
    redis_url: str, window: Window, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with serve(redis_url, tmp_path_factory.mktemp("site")) as site:
        window.open(site.entrance)
        window.drawn()
    window.says("No answer since", "what you see is from then")


HOSTILE = "<img src=x onerror=window.hacked=1>\"'></script><script>window.hacked=1</script>\x1b[2J"
HOSTILE_CODE = f"""
import json, time
from celery_middle_management.app_setup import enabled_app_of
from celery_middle_management.core.demand import Held
from celery_middle_management.core.presence import Presence, Run
from celery_middle_management.ledger.codec import pack_presence
from celery_middle_management.ledger.manual_scaling import pause

hostile, ledger = {HOSTILE!r}, enabled_app_of(app).ledger()
pause(ledger, hostile, hires=True, fires=True, lasts=None)
pause(ledger, "x" * 10000, hires=True, fires=True, lasts=None)
now = ledger.snapshot().now
runs = (Run(hostile, now - 9), Run("y" * 10000, now - 5))
held = {{"celery": Held(running=2, unacknowledged=2)}}
worker = Presence("worker.1", "worker.1", "worker", since=now, seen=now, busy=2,
    queues=("celery",), held=held, runs=runs)
# It will not be silent for ten minutes.
report = f"{{int((now + 600) * 1000)}} {{pack_presence(worker)}}"
ledger.redis.hset(ledger.keys["workers"], "worker.1", report)
ledger.redis.expire(ledger.keys["workers"], 600)
nap.apply_async((0,), queue=hostile)
nap.apply_async((0,), queue="z" * 10000)
"""


def test_hostile_names_are_text(
    redis_url: str, window: Window, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Of queues, tasks and people: HTML, scripts, control characters, 10,000 characters."""
    with serve(redis_url, tmp_path_factory.mktemp("site"), web_actions="true") as site:
        site.script(HOSTILE_CODE)
        window.size(360)
        window.open(site.entrance)
        window.drawn()
        window.says("by <img src=x onerror=window.hacked=1>", f"by {'x' * 50}")
        wait_for(lambda: window.text().count("<img src=x") >= 3, message=window.text)
        wait_for(lambda: window.all("#trouble"), message=window.text)
        assert window.run("return document.documentElement.scrollWidth") == 360
        assert window.run("return window.hacked") is None
        assert window.run("return document.images.length") == 0
        assert not any("/x" in url.removeprefix(site.url) for url in window.requests())
        assert window.console() == []


def test_behind_the_login_of_djangos_admin(
    redis_url: str, window: Window, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("django")
    django(["migrate", "--verbosity", "0"], directory, redis_url)
    django(["shell", "--command", PEOPLE], directory, redis_url)
    with serving("django", redis_url, directory, *GUNICORN) as address:
        for name, buttons in (("view", False), ("change", True)):
            window.forget()
            window.open(address + PANEL)
            for field, text in (("username", name), ("password", "try-it")):
                window.one(f"[name={field}]").send_keys(text)
            window.press(Keys.ENTER)
            window.says("Workers and tasks of each pool, now")
            window.one("a.button").click()
            wait_for(lambda: window.driver.current_url == address + LIVE)
            window.drawn()
            window.says(f"You are {name}")
            assert bool(window.all("#pause")) is buttons
        ask(window, "#pause")
        window.says("Paused", "no hires and no fires, by change")
        assert [m for m in window.console() if LIVE in m] == []
        assert window.hosts() == {address.removeprefix("http://")}
