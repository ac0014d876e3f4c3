"""Requests to Heroku's API: each is made once and bounded in time."""

from __future__ import annotations

import base64
import logging
import socket
import struct
import time
import traceback
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import requests
from heroku3.api import Heroku as HerokuClient
from heroku3.models.app import App
from requests.auth import AuthBase
from urllib3.connection import HTTPConnection
from urllib3.util import Timeout

from celery_middle_management.log_throttle import LogThrottle
from celery_middle_management.platforms.base import PlatformError
from celery_middle_management.platforms.heroku_answers import Request, warn_of_few
from celery_middle_management.platforms.https import Https
from celery_middle_management.settings.model import Heroku
from celery_middle_management.settings.secret import Secret

logger = logging.getLogger(__name__)

T = TypeVar("T")

CONNECT_TIMEOUT = 3.0  # s
READ_TIMEOUT = 5.0  # s
#: A change may take longer (s), because an unanswered one holds up its pool for a minute.
WRITE_TIMEOUT = 8.0


class HerokuSession(requests.Session):
    """The requests of one platform call, including its retries.

    Each request has a timeout and ends by the deadline. heroku3 sees only good answers. For any
    other, a PlatformError is raised here, outside of ``except`` blocks and where no variable holds
    a request, because the variables of requests and urllib3 hold the headers, with the key.

    Proxies and certificates from the environment are used. A netrc file is not: requests reads it
    only if there is no authentication yet, or on a redirect, and no redirect is followed.
    """

    def __init__(self, settings: Heroku, deadline: float, trouble: LogThrottle) -> None:
        super().__init__()
        self.auth = _Auth(settings.api_key)
        self._settings = settings
        self._deadline = deadline
        self._trouble = trouble
        self._last = Request(settings)
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Resetting())
        client = HerokuClient(session=self)
        client._heroku_url = settings.api_url.rstrip("/")
        name = quote(settings.app, safe="")
        self._app = App.new_from_dict({"id": name, "name": name}, h=client)

    def do(self, work: Callable[[App], T]) -> T:
        """Do *work*; where heroku3 cannot read an answer, raise a PlatformError."""
        try:
            return work(self._app)
        except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
            # As text: given the error itself, a handler could show its frames, with the key.
            logger.debug("heroku3 cannot read Heroku's answer:\n%s", traceback.format_exc())
            reason = type(error).__name__
        raise self._last.misunderstood(reason)

    def request(
        self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any
    ) -> requests.Response:
        answer = self._try(str(method), str(url), *args, **kwargs)
        if isinstance(answer, PlatformError):
            raise answer
        return answer

    def _try(
        self, method: str, url: str, *args: Any, **kwargs: Any
    ) -> requests.Response | PlatformError:
        asked = Request(self._settings, writes=method != "GET", starts_dyno=method == "POST")
        self._last = asked
        begun = time.monotonic()
        left = self._deadline - begun
        if left <= 0:
            message = "There was no time left to call Heroku"
            return asked.failed(PlatformError, message, maybe_done=False)
        read = WRITE_TIMEOUT if asked.writes else READ_TIMEOUT
        kwargs["timeout"] = Timeout(
            total=left, connect=min(CONNECT_TIMEOUT, left), read=min(read, left)
        )
        kwargs["allow_redirects"] = False
        path = urlsplit(url).path
        try:
            response = super().request(method, url, *args, **kwargs)
        except OSError as error:  # includes requests' own errors, and a bad REQUESTS_CA_BUNDLE
            logger.debug("%s %s: %s", method, path, type(error).__name__)
            return asked.unanswered(error)
        remaining = response.headers.get("RateLimit-Remaining")
        logger.debug(
            "%s %s: %d in %.3f s, RateLimit-Remaining: %s",
            method,
            path,
            response.status_code,
            time.monotonic() - begun,
            remaining,
        )
        warn_of_few(remaining, self._trouble)
        return asked.trouble_in(response) or response


class _Auth(AuthBase):
    """HTTP basic authentication. It takes the key out of its secret only for the header."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = "Basic " + base64.b64encode(
            f":{self._key.reveal()}".encode("utf-8", "surrogateescape")
        ).decode("ascii")
        return request


class _Resetting(Https):
    """Resets its connections when they are closed."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, socket_options=_socket_options(), **kwargs)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, socket_options=_socket_options(), **kwargs)


def _socket_options() -> list[tuple[int, int, int | bytes]]:
    """Return options that keep a request from being delivered after it was given up.

    Without them, the kernel tries for minutes to deliver the request of a closed connection.
    """
    options = [
        *HTTPConnection.default_socket_options,
        (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)),
    ]
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        milliseconds = int(WRITE_TIMEOUT * 1000)
        options.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds))
    return options
