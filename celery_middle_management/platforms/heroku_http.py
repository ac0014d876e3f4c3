"""Requests to Heroku's API: each is made once, bounded in time, and its answer judged."""

from __future__ import annotations

import base64
import logging
import math
import socket
import struct
import time
import traceback
from collections.abc import Callable
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import requests
from heroku3.api import Heroku as HerokuClient
from heroku3.models.app import App
from requests.auth import AuthBase
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util import Timeout

from celery_middle_management.log_throttle import LogThrottle
from celery_middle_management.platforms.base import PlatformError, Refused
from celery_middle_management.platforms.https import Https
from celery_middle_management.settings.model import Heroku
from celery_middle_management.settings.secret import Secret

logger = logging.getLogger(__name__)

T = TypeVar("T")

CONNECT_TIMEOUT = 3.0  # s
READ_TIMEOUT = 5.0  # s
#: A change may take longer (s): one of which no answer came holds its pool up for a minute.
WRITE_TIMEOUT = 8.0
FEW_REQUESTS = 100  # of the 4,500 an hour that Heroku allows an account

URL = "middle_management_heroku_api_url"


class PassingTrouble(PlatformError):
    """May be over in a moment, and what was asked for was not done: it may be asked for again."""


class _Auth(AuthBase):
    """HTTP basic authentication, which takes the key out of its secret for the header alone."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = "Basic " + base64.b64encode(
            f":{self._key.reveal()}".encode("utf-8", "surrogateescape")
        ).decode("ascii")
        return request


def warn_of_few(remaining: str | None, trouble: LogThrottle) -> None:
    """Warn, once in a while, when few requests are left."""
    if remaining is not None and remaining.isdecimal() and int(remaining) < FEW_REQUESTS:
        trouble.warn(
            "few requests",
            "Heroku will take %s more requests from this account before it refuses them;"
            " they grow again by 75 a minute. What else uses this API key?",
            remaining,
        )


def _socket_options() -> list[tuple[int, int, int | bytes]]:
    """Whatever was given up can be delivered no more.

    Without them, the kernel goes on for minutes to deliver a request whose connection is closed.
    """
    options = [
        *HTTPConnection.default_socket_options,
        (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)),
    ]
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        milliseconds = int(WRITE_TIMEOUT * 1000)
        options.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds))
    return options


class _Resetting(Https):
    """Its connections are reset when they are closed."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, socket_options=_socket_options(), **kwargs)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, socket_options=_socket_options(), **kwargs)


class HerokuSession(requests.Session):
    """The requests of one platform call, tries and all.

    Each has a timeout, none outlives the deadline, and heroku3 sees good answers only: any other
    raises here, as a PlatformError. These are raised outside of ``except`` blocks, and where no
    variable holds a request: requests and urllib3 keep the headers, the key among them, in theirs.

    Proxies and certificates from the environment count. A netrc file does not: requests looks for
    one only where there is no authentication yet, or on a redirect, and none is followed.
    """

    def __init__(self, settings: Heroku, deadline: float, trouble: LogThrottle) -> None:
        super().__init__()
        self.auth = _Auth(settings.api_key)
        self._settings = settings
        self._deadline = deadline
        self._trouble = trouble
        self._writing = False  # the last request was to change something
        self._starting = False  # it was for one dyno alone, and so is its answer
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Resetting())
        client = HerokuClient(session=self)
        client._heroku_url = settings.api_url.rstrip("/")
        name = quote(settings.app, safe="")
        self._app = App.new_from_dict({"id": name, "name": name}, h=client)

    def do(self, work: Callable[[App], T]) -> T:
        """*work*, with heroku3's trouble to understand an answer as one of ours."""
        try:
            return work(self._app)
        except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
            # As text: of the error itself, a handler could show the frames, with the key.
            logger.debug("heroku3 cannot read Heroku's answer:\n%s", traceback.format_exc())
            reason = type(error).__name__
        raise self._garbage(reason)

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
        self._writing = method != "GET"
        self._starting = method == "POST"
        begun = time.monotonic()
        left = self._deadline - begun
        if left <= 0:
            return self._error(PlatformError, "There was no time left to ask Heroku", done=False)
        read = WRITE_TIMEOUT if self._writing else READ_TIMEOUT
        kwargs["timeout"] = Timeout(
            total=left, connect=min(CONNECT_TIMEOUT, left), read=min(read, left)
        )
        kwargs["allow_redirects"] = False
        path = urlsplit(url).path
        try:
            response = super().request(method, url, *args, **kwargs)
        except OSError as error:  # requests' own are, and a bad REQUESTS_CA_BUNDLE is one
            logger.debug("%s %s: %s", method, path, type(error).__name__)
            return self._no_answer(error)
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
        return self._refusal(response) or response

    def _error(
        self,
        kind: type[PlatformError],
        message: str,
        *,
        done: bool,
        retry_after: float | None = None,
    ) -> PlatformError:
        """*done*: whether the last request may have been carried out, or may still be."""
        changed = done and self._writing
        if changed:  # so it is not to be repeated before it is known what became of it
            kind = PlatformError
        return kind(f"{message}.", settled=not changed, retry_after=retry_after)

    def _no_answer(self, error: OSError) -> PlatformError:
        address = urlsplit(self._settings.api_url).netloc.rpartition("@")[2]
        trouble = f"{type(error).__name__} from {address}"
        passing = (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
            requests.exceptions.ContentDecodingError,
        )
        if not isinstance(error, passing):
            return self._error(
                PlatformError, f"Heroku cannot be asked ({trouble}): check {URL}", done=False
            )
        return self._error(
            PassingTrouble,
            f"Heroku gave no answer ({trouble}): see https://status.heroku.com, and check the"
            f" network and {URL}",
            done=not _never_sent(error),
        )

    def _garbage(self, reason: str) -> PlatformError:
        return self._error(
            PassingTrouble,
            f"Heroku's answer was not what its API documents ({reason}): if that goes on, check"
            f" {URL}",
            done=True,
        )

    def _refusal(self, response: requests.Response) -> PlatformError | None:
        """What is wrong with an answer, if anything."""
        status = response.status_code
        try:
            body = response.json()
        except ValueError:
            body = None
        if 200 <= status < 300:
            items = body if isinstance(body, list) else [body] if self._starting else None
            if items is not None and all(isinstance(item, dict) for item in items):
                return None
            return self._garbage("no JSON object" if self._starting else "no JSON list")
        details = body if isinstance(body, dict) else {}
        said = str(details.get("message") or response.reason)[:200]
        heroku = f"Heroku refused ({status}: {said})"
        retry_after = _seconds(response.headers.get("Retry-After"))
        if status == 429:
            return self._error(
                PassingTrouble,
                f"{heroku}. The account's requests are used up: what else uses this API key?"
                " Until more are allowed, nothing is scaled",
                done=False,
                retry_after=retry_after,
            )
        if status >= 500:
            return self._error(
                PassingTrouble,
                f"Heroku failed ({status}: {said}): see https://status.heroku.com",
                done=True,
                retry_after=retry_after,
            )
        if self._writing and (
            status == 422 or (status == 404 and details.get("resource", "app") != "app")
        ):
            limit = details.get("limit")
            return Refused(
                f"{heroku}.",
                unknown=status == 404,
                limit=limit if isinstance(limit, int) and limit >= 0 else None,
            )
        return self._error(PlatformError, f"{heroku}{self._advice(status)}", done=False)

    def _advice(self, status: int) -> str:
        app, key = repr(self._settings.app), self._settings.key_from
        if status == 401:
            return f". The API key is wrong or has expired: set {key} to one that is valid"
        if status == 403:
            return (
                f". The API key is valid, but may not do this with app {app}: set {key} to that of"
                " a user with the permission to scale it"
            )
        if status == 404:
            named = self._settings.app_from
            return f". There is no app {app} that the API key may see: check {named} and {key}"
        if 300 <= status < 400:
            return f". It sent us elsewhere: check {URL}"
        return f". That was for app {app}"


def _never_sent(error: OSError) -> bool:
    """Whether the connection failed before the request could go out."""
    cause = error.args[0] if error.args else None
    reason = getattr(cause, "reason", None)
    return isinstance(reason, (ConnectTimeoutError, NewConnectionError))


def _seconds(retry_after: str | None) -> float | None:
    """From a Retry-After header: seconds, or an HTTP date."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = (_aware(parsedate_to_datetime(retry_after)) - _now()).total_seconds()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=timezone.utc)


def _now() -> datetime:
    return datetime.now(timezone.utc)
