"""Turns bad or missing answers of Heroku's API into errors that say whether to try again."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from celery_middle_management.log_throttle import LogThrottle
from celery_middle_management.platforms.base import PlatformError, Refused
from celery_middle_management.settings.model import Heroku

FEW_REQUESTS = 100  # of the 4,500 an hour that Heroku allows an account

URL = "middle_management_heroku_api_url"


class PassingTrouble(PlatformError):
    """It may be over in a moment, and the request can be tried again: it was not carried out."""


class Request(NamedTuple):
    """The part of a request to Heroku that decides how its answer is read."""

    account: Heroku
    #: Whether it changes something.
    writes: bool = False
    #: Whether it concerns one dyno alone, and so does its answer.
    starts_dyno: bool = False

    def failed(
        self,
        kind: type[PlatformError],
        message: str,
        *,
        maybe_done: bool,
        retry_after: float | None = None,
    ) -> PlatformError:
        """Make the error of this request.

        Args:
            maybe_done: Heroku may have carried the request out, or may still do so.
        """
        unsettled = maybe_done and self.writes
        if unsettled:  # It must not be repeated before its outcome is known.
            kind = PlatformError
        return kind(f"{message}.", settled=not unsettled, retry_after=retry_after)

    def unanswered(self, error: OSError) -> PlatformError:
        """Make the error of a request that got no answer."""
        address = urlsplit(self.account.api_url).netloc.rpartition("@")[2]
        trouble = f"{type(error).__name__} from {address}"
        passing = (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
            requests.exceptions.ContentDecodingError,
        )
        if not isinstance(error, passing):
            message = f"Heroku's API cannot be called ({trouble}): check {URL}"
            return self.failed(PlatformError, message, maybe_done=False)
        return self.failed(
            PassingTrouble,
            f"Heroku did not answer ({trouble}): see https://status.heroku.com, and check the"
            f" network and {URL}",
            maybe_done=not _was_never_sent(error),
        )

    def misunderstood(self, reason: str) -> PlatformError:
        """Make the error of a request whose answer cannot be read, for this *reason*."""
        return self.failed(
            PassingTrouble,
            f"Heroku's answer was not what its API documents ({reason}): if this persists, check"
            f" {URL}",
            maybe_done=True,
        )

    def trouble_in(self, response: requests.Response) -> PlatformError | None:
        """Return the error in an answer; None if there is none."""
        body = _json(response)
        if 200 <= response.status_code < 300:
            items = body if isinstance(body, list) else [body] if self.starts_dyno else None
            if items is not None and all(isinstance(item, dict) for item in items):
                return None
            return self.misunderstood("no JSON object" if self.starts_dyno else "no JSON list")
        return self._refusal(response, body if isinstance(body, dict) else {})

    def _refusal(self, response: requests.Response, details: dict[str, Any]) -> PlatformError:
        status = response.status_code
        said = str(details.get("message") or response.reason)[:200].rstrip(".")
        heroku = f"Heroku refused ({status}: {said})"
        retry_after = _seconds(response.headers.get("Retry-After"))
        if status == 429:
            return self.failed(
                PassingTrouble,
                f"{heroku}. The account's requests are used up: what else uses this API key?"
                " Until Heroku allows more, nothing is scaled",
                maybe_done=False,
                retry_after=retry_after,
            )
        if status >= 500:
            return self.failed(
                PassingTrouble,
                f"Heroku failed ({status}: {said}): see https://status.heroku.com",
                maybe_done=True,
                retry_after=retry_after,
            )
        missing = status == 404 and details.get("resource", "app") != "app"
        if self.writes and (status == 422 or missing):
            limit = details.get("limit")
            limit = limit if isinstance(limit, int) and limit >= 0 else None
            again = "It is asked again once a minute"
            return Refused(f"{heroku}. {again}", unknown=missing, limit=limit)
        return self.failed(PlatformError, f"{heroku}. {self._advice(status)}", maybe_done=False)

    def _advice(self, status: int) -> str:
        app, key = repr(self.account.app), self.account.key_from
        if status == 401:
            return f"The API key is wrong or has expired: set {key} to a valid one"
        if status == 403:
            return (
                f"The API key is valid but may not do this with app {app}: set {key} to the key of"
                " a user who may scale the app"
            )
        if status == 404:
            named = self.account.app_from
            return f"The API key can see no app {app}: check {named} and {key}"
        if 300 <= status < 400:
            return f"It redirected the request: check {URL}"
        return f"The request was about app {app}"


def warn_of_few(remaining: str | None, trouble: LogThrottle) -> None:
    """Warn when the account has few requests left."""
    if remaining is not None and remaining.isdecimal() and int(remaining) < FEW_REQUESTS:
        trouble.warn(
            "few requests",
            "Heroku allows this account only %s more requests, plus 75 a minute, before it refuses"
            " them. What else uses this API key?",
            remaining,
        )


def _json(response: requests.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _was_never_sent(error: OSError) -> bool:
    """True if the connection failed before the request could go out."""
    cause = error.args[0] if error.args else None
    reason = getattr(cause, "reason", None)
    return isinstance(reason, (ConnectTimeoutError, NewConnectionError))


def _seconds(retry_after: str | None) -> float | None:
    """Read a Retry-After header: seconds, or an HTTP date."""
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
