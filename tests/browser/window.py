"""A headless Chromium, and what a test asks of it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.servers import wait_for

#: Where Debian, other systems and a person's own installation have the two programs.
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
DRIVER = ("chromedriver", "chromium.chromedriver")
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"),
    *("--disable-background-networking", "--disable-component-update", "--no-first-run"),
    *("--hide-scrollbars", "--force-color-profile=srgb"),
)


def find(programs: tuple[str, ...]) -> str | None:
    """The path of the first of the *programs* that this machine has."""
    return next(filter(None, map(shutil.which, programs)), None)


#: How many plots have a canvas, in BokehJS's shadow trees, whose points are not all alike.
PAINTED = """
  const canvases = (root) => [...root.querySelectorAll("*")].flatMap((each) => [
    ...(each.localName === "canvas" ? [each] : []),
    ...(each.shadowRoot ? canvases(each.shadowRoot) : [])]);
  const painted = (canvas) => canvas.width && canvas.height && new Set(new Uint32Array(
    canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size > 2;
  const plots = [...document.querySelectorAll("#plots figure")];
  return plots.filter((plot) => canvases(plot).some(painted)).length;
"""


class Window:
    """One window. Its logs are emptied by each look at them."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """Load a page without what is left of the one before."""
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(url)

    def forget(self) -> None:
        """Be a visitor who was never here, with eyes that see as most do."""
        self.driver.get("about:blank")
        self.command("Network.clearBrowserCookies")
        self.command("Network.setBlockedURLs", urls=[])
        self.command("Emulation.setEmulatedMedia", features=[])
        self.size(1200, 900)

    def command(self, name: str, **arguments: Any) -> Any:
        """Send a command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(name, arguments)

    def size(self, width: int, height: int = 800) -> None:
        """Be so many CSS pixels wide, less than a window of a desktop can be."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def media(self, **features: str) -> None:
        """Emulate what a person prefers, as ``prefers_color_scheme="dark"``."""
        told = [{"name": n.replace("_", "-"), "value": v} for n, v in features.items()]
        self.command("Emulation.setEmulatedMedia", features=told)

    def run(self, script: str, *arguments: Any) -> Any:
        """Return what the body of a JavaScript function returns."""
        return self.driver.execute_script(script, *arguments)

    def all(self, selector: str) -> list[WebElement]:
        """The elements that a CSS selector finds and a person sees."""
        return [e for e in self.driver.find_elements(By.CSS_SELECTOR, selector) if _seen(e)]

    def one(self, selector: str) -> WebElement:
        """The only one."""
        [element] = self.all(selector)
        return element

    def texts(self, selector: str) -> list[str]:
        """What a person reads in each element that a CSS selector finds, all at one moment."""
        script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)"
        return list(self.run(script, selector))

    def text(self) -> str:
        """All that a person can read."""
        return str(self.run("return document.body.innerText"))

    def says(self, *words: str, within: float = 60.0) -> None:
        """Wait until the page has all the *words*, in capitals or not."""

        def said() -> bool:
            text = self.text().lower()
            return all(word.lower() in text for word in words)

        wait_for(said, within, lambda: f"not all of {words} in:\n{self.text()}\n{self.console()}")

    def drawn(self, plots: int = 3) -> None:
        """Wait until so many plots have something on their canvas."""

        def are() -> bool:
            return bool(self.run(PAINTED) == plots)

        wait_for(are, 60.0, lambda: f"{self.run(PAINTED)} plots:\n{self.text()}\n{self.console()}")

    def press(self, *keys: str) -> None:
        """Press and release keys, one after the other."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def console(self) -> list[str]:
        """Errors since the page was opened, among them violations of its content policy."""
        entries = self.driver.get_log("browser")
        told = [e["message"] for e in entries if e["level"] in ("SEVERE", "WARNING")]
        # PAINTED reads the canvases, which Chromium finds slow.
        return [message for message in told if "Canvas2D: Multiple readback" not in message]

    def requests(self) -> list[str]:
        """The addresses that were requested since the page was opened."""
        entries = (json.loads(e["message"])["message"] for e in self.driver.get_log("performance"))
        sent = (e["params"] for e in entries if e["method"] == "Network.requestWillBeSent")
        return [each["request"]["url"] for each in sent]

    def hosts(self) -> set[str]:
        """The hosts that were asked for anything; what needs no request does not count."""
        parts = map(urlsplit, self.requests())
        return {each.netloc for each in parts if each.scheme not in ("data", "blob", "about")}


def _seen(element: WebElement) -> bool:
    try:
        return element.is_displayed()
    except StaleElementReferenceException:  # drawn anew meanwhile
        return False


@contextmanager
def open_window() -> Iterator[Window]:
    """Start a Chromium with an empty profile."""
    options = webdriver.ChromeOptions()
    options.binary_location = find(CHROMIUM) or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with tempfile.TemporaryDirectory(prefix="mm-chromium-", ignore_cleanup_errors=True) as profile:
        for option in (*OPTIONS, f"--user-data-dir={profile}"):
            options.add_argument(option)
        # Nothing is downloaded: the driver is given, and statistics are off.
        os.environ["SE_AVOID_STATS"] = "true"
        service = webdriver.ChromeService(executable_path=find(DRIVER))
        driver = webdriver.Chrome(options=options, service=service)
        try:
            driver.set_page_load_timeout(90)
            driver.set_script_timeout(90)
            yield Window(driver)
        finally:
            driver.quit()
