"""Make the picture of the page: ``python docs/page_picture.py``; in a directory, others of it too.

Needs the extra ``browser``, Chromium and its driver. The README's picture is ``docs/page.png``.
"""

from __future__ import annotations

import base64
import io
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from celery import Celery
from PIL import Image

from celery_middle_management.demo.redis_server import RedisServer
from celery_middle_management.ledger.redis import RedisLedger
from celery_middle_management.settings.reading import read_settings
from tests.benchmarks.week import PRICED, reporting, week
from tests.browser.site import Site, serve
from tests.browser.window import Window, open_window

PICTURE = Path(__file__).with_name("page.png")
MOST_BYTES, MOST_HEIGHT = 200_000, 1500
#: The others: a name, the width, what of the history is shown, and whether it is dark.
OTHERS = (
    ("hour", 1200, "hour", False),
    ("week", 1200, "week", False),
    ("dark", 1200, "day", True),
    ("week-360", 360, "week", False),
    ("dark-360", 360, "hour", True),
)
APP = "tests.benchmarks.week_app"


@contextmanager
def a_week(*, trouble: bool, seed: int = 7, **settings: str) -> Iterator[Site]:
    """The page of an app with a week of history, which ends now."""
    with RedisServer() as server, tempfile.TemporaryDirectory() as directory:
        app = Celery(broker=server.url, set_as_current=False)
        app.conf.update(PRICED)
        read = read_settings(app)
        assert read is not None
        ledger = RedisLedger(read)
        made = week(read, time.time(), seed, trouble=trouble)
        made.write(ledger)
        with reporting(ledger, made), serve(server.url, Path(directory), APP, **settings) as site:
            yield site


def shot(
    window: Window,
    site: Site,
    path: Path,
    *,
    width: int,
    span: str,
    dark: bool,
    most: int = MOST_HEIGHT,
) -> None:
    """Take one picture of the whole page."""
    window.forget()
    window.media(prefers_color_scheme="dark" if dark else "light", prefers_reduced_motion="reduce")
    window.size(width, 900)
    window.open(site.entrance)
    window.drawn()
    window.run(f"document.querySelector('input[name=span][value={span}]').click()")
    # Above 1500 px of height the README's reader would have to scroll through it.
    height = min(int(window.run("return document.documentElement.scrollHeight")), most)
    window.size(width, height)
    time.sleep(1.5)  # the plots take the new size, and the list of decisions scrolls to its place
    taken = window.command("Page.captureScreenshot", format="png")["data"]
    save(Image.open(io.BytesIO(base64.b64decode(taken))), path)


def save(picture: Image.Image, path: Path) -> None:
    """Save it with as many colours as its size allows."""
    for colours in (256, 128, 64, 32):
        few = picture.convert("RGB").quantize(colours, dither=Image.Dither.NONE)
        few.save(path, optimize=True)
        if path.stat().st_size < MOST_BYTES:
            return
    raise SystemExit(f"{path} is larger than {MOST_BYTES} bytes")


def main(directory: Path | None) -> None:
    """Make the README's picture; all of them if there is a *directory* for them."""
    os.environ |= {"PRICED": "true", "DYNO": "web.1", "HEROKU_APP_NAME": "shop"}
    with open_window() as window:
        with a_week(trouble=False, web_actions="true") as site:
            shot(window, site, PICTURE, width=1200, span="day", dark=False, most=900)
            for name, width, span, dark in OTHERS if directory else ():
                shot(window, site, directory / f"{name}.png", width=width, span=span, dark=dark)
        if directory:
            with a_week(trouble=True, web_actions="true") as site:
                for name, width in (("trouble", 1200), ("trouble-360", 360)):
                    path = directory / f"{name}.png"
                    shot(window, site, path, width=width, span="hour", dark=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
