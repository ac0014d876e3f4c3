"""What other sites, and people without a token, get from the page and can do to it."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.browser.site import Site, serve
from tests.browser.window import Window
from tests.servers import wait_for

#: Everything by which a site makes a browser send a request to another one, with its cookies.
ATTACK = """<!doctype html>
<title>at work</title>
<iframe name="hole"></iframe>
<iframe id="framed" src="{url}"></iframe>
<form method="post" action="{url}pause" target="hole" enctype="text/plain">
  <input name='{{"hires": true, "fires": true, "for": null, "x": "' value='"}}'>
</form>
<script>
  document.forms[0].submit();
  const body = '{{"hires": true, "fires": true, "for": null}}';
  const json = {{"Content-Type": "application/json"}};
  const token = {{...json, "X-MM-Token": "a".repeat(43)}};
  const all = [
    fetch("{url}pause", {{method: "POST", body, mode: "no-cors", credentials: "include"}}),
    fetch("{url}pause", {{method: "POST", body, headers: json, credentials: "include"}}),
    fetch("{url}pause", {{method: "POST", body, headers: token, credentials: "include"}}),
    fetch("{url}data", {{credentials: "include"}}).then(r => r.text()).then(t => window.read = t),
    fetch("{url}", {{credentials: "include"}}).then(r => r.text()).then(t => window.read = t),
    new Promise(done => {{
      const script = document.createElement("script");
      script.src = "{url}data";
      script.onload = script.onerror = done;
      document.head.append(script);
    }}),
  ];
  navigator.sendBeacon("{url}pause", new Blob([body], {{type: "text/plain"}}));
  Promise.allSettled(all).then(() => setTimeout(() => document.title = "done", 1000));
</script>
"""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def site(redis_url_of_module: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    with serve(redis_url_of_module, directory, web_actions="true") as site:
        yield site


@contextmanager
def another_site(html: str, cookies: list[str | None]) -> Iterator[int]:
    """Serve one page, and note the *cookies* that it is sent; yield its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            cookies.append(self.headers["Cookie"])
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


# By the other name it is another site; by the same, only another origin, and cookies are sent.
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_another_site_can_change_and_read_nothing(site: Site, window: Window, host: str) -> None:
    window.open(site.entrance)
    wait_for(lambda: "token" not in window.driver.current_url)
    before, page = site.actions(), window.driver.current_url
    cookies: list[str | None] = []
    with another_site(ATTACK.format(url=page), cookies) as port:
        window.open(f"http://{host}:{port}/")
        wait_for(lambda: window.driver.title == "done", message=window.text)
        assert sum(f"{page}pause" == url for url in window.requests()) >= 4
        assert {*cookies} == {None}, "its server is sent none of ours"
        assert window.run("return window.read") is None
        window.driver.switch_to.frame("framed")
        assert "Middle Management" not in window.run("return document.title")
        window.driver.switch_to.default_content()
    assert site.actions() == before


def test_a_person_without_the_token_sees_nothing(site: Site, window: Window) -> None:
    for address in (site.url, f"{site.url}?token=wrong", f"{site.url}data", f"{site.url}metrics"):
        window.open(address)
        text = window.text()
        assert "\n" not in text.strip()
        for word in ("worker", "Middle Management", "shop", "pool"):
            assert word not in text
        assert window.run("return document.scripts.length") == 0


def test_the_token_does_not_stay_in_the_address_or_in_scripts_reach(
    site: Site, window: Window
) -> None:
    window.open(site.entrance)
    token = site.entrance.partition("token=")[2]
    wait_for(lambda: "token" not in window.driver.current_url)
    assert token not in window.run("return document.documentElement.outerHTML + document.cookie")
    page = window.driver.current_url
    window.open(page)
    assert window.requests()[0] == page
    wait_for(lambda: "Middle Management" in window.driver.title)


def test_the_address_by_another_host_name_shows_nothing(site: Site, window: Window) -> None:
    """As a page of another site would reach it after rebinding its name."""
    window.open(site.entrance.replace("127.0.0.1", "rebound.localhost"))
    assert "worker" not in window.text()
    assert window.run("return document.scripts.length") == 0


def test_the_command_says_nothing_of_the_token_but_in_the_address(
    site: Site, tmp_path: Path
) -> None:
    token = site.entrance.partition("token=")[2]
    assert site.log().count(token) == 1
