"""Heroku, through heroku3: the dynos of an app's process types."""

from __future__ import annotations

import base64
import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import requests
from heroku3.api import Heroku as HerokuClient
from heroku3.models.app import App
from requests.auth import AuthBase
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    wait_exponential,
    wait_random,
)
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util import Timeout

from celery_middle_management.platforms.base import Platform, PlatformError
from celery_middle_management.settings import Heroku, Secret

logger = logging.getLogger(__name__)

T = TypeVar("T")

CONNECT_TIMEOUT = 3.0  # s
READ_TIMEOUT = 5.0  # s
SHORTEST_TRY = 0.25  # s: with less time than that left, no further try is begun
RUNNING = frozenset({"starting", "up", "idle"})
FEW_REQUESTS = 100  # of the 4,500 an hour that Heroku allows an account
WARN_EVERY = 60.0  # s

KEY = "middle_management_heroku_api_key (environment variable HEROKU_API_KEY)"
APP = "middle_management_heroku_app (environment variable HEROKU_APP_NAME)"
URL = "middle_management_heroku_api_url"


class HerokuPlatform(Platform):
    """Scales the app's formation. Thread-safe; keeps no connection open between calls."""

    name = "heroku"

    def __init__(self, settings: Heroku) -> None:
        self._settings = settings
        self._rate_limit = _RateLimit()

    def quantities(self, pools: Collection[str], deadline: float) -> dict[str, int]:
        formation = self._formation(deadline)
        if missing := sorted(set(pools) - formation.keys()):
            raise self._unknown_types(missing, formation)
        return {pool: formation[pool] for pool in pools}

    def scale(self, quantities: Mapping[str, int], deadline: float) -> dict[str, int]:
        if not quantities:
            return {}

        def update(app: App) -> dict[str, int]:
            formation = _quantities(app.batch_scale_formation_processes(quantities))
            return {pool: formation[pool] for pool in quantities}

        try:
            return self._call(update, deadline)
        except _UnknownType as error:
            unknown = error
        raise self._name_types(unknown, quantities, deadline)

    def running(self, pools: Collection[str], deadline: float) -> frozenset[str]:
        def names(app: App) -> frozenset[str]:
            return frozenset(
                str(dyno.name)
                for dyno in app.dynos()
                if dyno.type in pools and dyno.state in RUNNING
            )

        return self._call(names, deadline)

    def _formation(self, deadline: float) -> dict[str, int]:
        return self._call(lambda app: _quantities(app.process_formation()), deadline)

    def _call(self, work: Callable[[App], T], deadline: float) -> T:
        """Does *work*, again and again while the trouble may pass and there is time."""

        def no_time_for_another(state: RetryCallState) -> bool:
            return time.monotonic() + state.upcoming_sleep + SHORTEST_TRY > deadline

        retrying = Retrying(
            retry=retry_if_exception_type(_PassingTrouble),
            wait=_wait,
            stop=no_time_for_another,
            reraise=True,
        )
        with _Session(self._settings, deadline, self._rate_limit) as session:
            result: T = retrying(session.do, work)
        return result

    def _name_types(
        self, error: PlatformError, asked: Iterable[str], deadline: float
    ) -> PlatformError:
        """A better error than *error*, if there is time to ask which process types exist."""
        try:
            formation = self._formation(deadline)
        except PlatformError:
            return error
        missing = sorted(set(asked) - formation.keys())
        better = self._unknown_types(missing, formation) if missing else error
        better.settled = error.settled
        return better

    def _unknown_types(self, missing: Iterable[str], existing: Iterable[str]) -> PlatformError:
        return PlatformError(
            f"Heroku app {self._settings.app!r} has no process type {_listed(missing)}; it has"
            f" {_listed(existing) or 'none'}. Add the type to its Procfile and deploy, or name an"
            " existing one in middle_management_pools.",
            settled=True,
        )


class _PassingTrouble(PlatformError):
    """May be over in a moment."""


class _UnknownType(PlatformError):
    """Heroku does not know a process type, and does not say which."""


class _Auth(AuthBase):
    """HTTP basic authentication, which takes the key out of its secret for the header alone."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = "Basic " + base64.b64encode(
            f":{self._key.reveal()}".encode("utf-8", "surrogateescape")
        ).decode("ascii")
        return request


class _RateLimit:
    """Warns, once in a while, when few requests are left."""

    def __init__(self) -> None:
        self._warned_at = -math.inf

    def note(self, remaining: str | None) -> None:
        if remaining is None or not remaining.isdecimal() or int(remaining) >= FEW_REQUESTS:
            return
        now = time.monotonic()
        if now - self._warned_at >= WARN_EVERY:
            self._warned_at = now
            logger.warning(
                "Heroku will take %s more requests from this account before it refuses them;"
                " they grow again by 75 a minute. What else uses this API key?",
                remaining,
            )


class _Session(requests.Session):
    """The requests of one platform call, tries and all.

    Each has a timeout, none outlives the deadline, and heroku3 sees good answers only: any other
    raises here, as a PlatformError. These are raised outside of ``except`` blocks, and where no
    variable holds a request: requests and urllib3 keep the headers, the key among them, in theirs.

    Proxies and certificates from the environment count. A netrc file does not: requests looks for
    one only where there is no authentication yet, or on a redirect, and none is followed.
    """

    def __init__(self, settings: Heroku, deadline: float, rate_limit: _RateLimit) -> None:
        super().__init__()
        self.auth = _Auth(settings.api_key)
        self._settings = settings
        self._deadline = deadline
        self._rate_limit = rate_limit
        self._wrote = False  # something may have been changed by a request of ours
        self._writing = False  # the last request was to change something
        client = HerokuClient(session=self)
        client._heroku_url = settings.api_url.rstrip("/")
        name = quote(settings.app, safe="")
        self._app = App.new_from_dict({"id": name, "name": name}, h=client)

    def do(self, work: Callable[[App], T]) -> T:
        """*work*, with heroku3's trouble to understand an answer as one of ours."""
        try:
            return work(self._app)
        except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
            logger.debug("heroku3 cannot read Heroku's answer", exc_info=True)
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
        begun = time.monotonic()
        left = self._deadline - begun
        if left <= 0:
            return self._error(PlatformError, "There was no time left to ask Heroku", done=False)
        kwargs["timeout"] = Timeout(
            total=left, connect=min(CONNECT_TIMEOUT, left), read=min(READ_TIMEOUT, left)
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
        self._rate_limit.note(remaining)
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
        self._wrote = self._wrote or (done and self._writing)
        return kind(f"{message}.", settled=not self._wrote, retry_after=retry_after)

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
            _PassingTrouble,
            f"Heroku gave no answer ({trouble}): see https://status.heroku.com, and check the"
            f" network and {URL}",
            done=not _never_sent(error),
        )

    def _garbage(self, reason: str) -> PlatformError:
        return self._error(
            _PassingTrouble,
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
            if isinstance(body, list) and all(isinstance(item, dict) for item in body):
                return None
            return self._garbage("no JSON list")
        details = body if isinstance(body, dict) else {}
        said = str(details.get("message") or response.reason)[:200]
        heroku = f"Heroku refused ({status}: {said})"
        retry_after = _seconds(response.headers.get("Retry-After"))
        if status == 429:
            return self._error(
                _PassingTrouble,
                f"{heroku}. The account's requests are used up: what else uses this API key?"
                " Until more are allowed, nothing is scaled",
                done=False,
                retry_after=retry_after,
            )
        if status >= 500:
            return self._error(
                _PassingTrouble,
                f"Heroku failed ({status}: {said}): see https://status.heroku.com",
                done=True,
                retry_after=retry_after,
            )
        if status == 404 and self._writing and details.get("resource", "app") != "app":
            return self._error(_UnknownType, f"{heroku}: check middle_management_pools", done=False)
        return self._error(PlatformError, f"{heroku}{self._advice(status)}", done=False)

    def _advice(self, status: int) -> str:
        app = repr(self._settings.app)
        if status == 401:
            return f". The API key is wrong or has expired: set {KEY} to one that is valid"
        if status == 403:
            return (
                f". The API key is valid, but may not do this with app {app}: set {KEY} to that of"
                " a user with the permission to scale it"
            )
        if status == 404:
            return f". There is no app {app} that the API key may see: check {APP} and {KEY}"
        if 300 <= status < 400:
            return f". It sent us elsewhere: check {URL}"
        return f". That was for app {app}"


_backoff = wait_exponential(multiplier=0.2, max=3.0) + wait_random(0.0, 0.3)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, PlatformError) else None
    return max(asked or 0.0, _backoff(state))


def _quantities(formation: Iterable[Any]) -> dict[str, int]:
    """Raises TypeError if a quantity is not there."""
    return {str(process.type): int(process.quantity) for process in formation}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names))


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
