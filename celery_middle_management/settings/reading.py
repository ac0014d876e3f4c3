"""Celery settings or environment variables, turned into frozen, checked values."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from celery import Celery
from celery.app import utils as celery_utils
from celery.exceptions import ImproperlyConfigured

from celery_middle_management.core.pools import Pool
from celery_middle_management.settings import kinds, redis_url
from celery_middle_management.settings.kinds import Kind
from celery_middle_management.settings.model import Heroku, Settings
from celery_middle_management.settings.secret import Secret, bare


def read_settings(app: Celery) -> Settings | None:
    """The settings of `app`, from its Celery configuration, else from the environment.

    Returns:
        None where `middle_management_enabled` is off, and nothing else is checked; or absent, and
            only unknown names are looked for, for it may be mistyped.

    Raises:
        ImproperlyConfigured: a setting is unknown, missing or wrong. The message is one line that
            names the setting, its value (never a secret) and what is allowed.
    """
    source = _Source(app)
    source.load()
    try:
        return _read(source)
    except Exception as error:  # noqa: BLE001 - raised again
        failure = bare(error)
    # The frames that it is cut off from know the key and the password.
    raise failure


def _read(source: _Source) -> Settings | None:
    enabled = source.get("enabled").value
    # Switched off, it is so whatever else is wrong; absent, it may be mistyped.
    if enabled is not False:
        source.refuse_unknown()
    if not enabled:
        return None
    value = {name: source.get(name).value for name in _TABLE}
    on_heroku = value["platform"] == "heroku"
    # Heroku's Redis has a certificate that it signed itself.
    url, options = _redis(source, verify=not on_heroku)
    return Settings(
        platform=value["platform"],
        pools=_pools(source),
        redis_url=Secret(url),
        redis_options=options,
        call_interval=value["call_interval"],
        count_interval=value["count_interval"],
        drain_timeout=value["drain_timeout"],
        heroku=_heroku(source) if on_heroku else None,
    )


def hide_from_celery() -> None:
    """Have Celery mask our settings wherever it shows an app's, all but the harmless ones.

    Its own rule goes by words in their names; with what we have it mask besides, a user's setting
    stays what it is for whoever reads it.
    """
    utils: Any = celery_utils  # celery-types lacks the attribute
    hidden = utils.HIDDEN_SETTINGS
    if _MARK not in hidden.pattern:
        ours = f"{_MARK}(?!({'|'.join(_HARMLESS)})$)"
        utils.HIDDEN_SETTINGS = re.compile(f"{hidden.pattern}|{ours}", hidden.flags)


class _Setting(NamedTuple):
    kind: Kind
    default: Any = None
    fallback: str = ""
    """Another environment variable that counts."""


_TABLE = {
    "enabled": _Setting(kinds.BOOLEAN),
    "platform": _Setting(kinds.PLATFORM, "heroku"),
    "heroku_app": _Setting(kinds.APP, fallback="HEROKU_APP_NAME"),
    "heroku_api_key": _Setting(kinds.API_KEY, fallback="HEROKU_API_KEY"),
    "heroku_username": _Setting(kinds.ANYTHING),  # the Ruby gem's, not needed; and the gem's
    "heroku_password": _Setting(kinds.API_KEY),  # name for the key
    "heroku_api_url": _Setting(kinds.API_URL, "https://api.heroku.com"),
    "redis_url": _Setting(kinds.REDIS_URL),
    "min_workers": _Setting(kinds.WHOLE, 0),
    "max_workers": _Setting(kinds.POSITIVE),
    "jobs_per_worker": _Setting(kinds.POSITIVE, 10),
    "pools": _Setting(kinds.POOLS, {"worker": {}}),
    "call_interval": _Setting(kinds.SECONDS, 10.0),
    "count_interval": _Setting(kinds.SECONDS, 60.0),
    "drain_timeout": _Setting(kinds.SECONDS_OR_NONE),
}
_LIMITS = ("min_workers", "max_workers", "jobs_per_worker")
_MARK = "middle_management_"
#: What `celery report` and `celery inspect conf` may show. The others are texts: one is a secret,
#: or bears a name that we do not know, or may have been mistaken for one that is.
_HARMLESS = [
    name
    for name, setting in _TABLE.items()
    if setting.kind
    not in (kinds.API_KEY, kinds.API_URL, kinds.APP, kinds.ANYTHING, kinds.REDIS_URL)
]
#: A key or a password in the wrong place. Heroku's older keys are UUIDs.
_LOOKS_SECRET = re.compile(
    "HRKU-|://.*@|[?&][^=]*(pass|secret|token|key)[^=]*=|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    re.I,
)


class _Given(NamedTuple):
    label: str
    """The name that the user wrote, or would have written."""
    value: Any


class _Source:
    """What the user gave, in whichever place."""

    def __init__(self, app: Celery) -> None:
        self.conf: Any = app.conf
        untyped: Any = app  # celery-types lacks the attribute
        namespace = f"{untyped.namespace.rstrip('_')}_" if untyped.namespace else ""
        # Celery's rule: a namespace in capitals makes the whole name capitals.
        self._styled = str.upper if namespace.isupper() else str.lower
        self._prefix = namespace + self._styled(_MARK)

    def load(self) -> None:
        """Have Celery load the user's configuration; what that raises is the user's to see."""
        self.conf.get(_MARK + "enabled")

    def get(self, name: str) -> _Given:
        """The checked value, or the default. None counts as absent; in the environment, "" does."""
        setting = _TABLE[name]
        label = self._prefix + self._styled(name)
        value = self.conf.get(_MARK + name)  # finds it with the namespace as well
        if value is not None:
            written = label if self.conf.get(label) is value else _MARK + name
            return _checked(setting.kind, _Given(written, value))
        for variable in ((_MARK + name).upper(), setting.fallback):
            if text := os.environ.get(variable):
                given = _Given(variable, setting.kind.from_text(text))
                return _checked(setting.kind, given)
        return _Given(label, setting.default)

    def refuse_unknown(self) -> None:
        """Refuse what looks like ours and is not."""
        _refuse_unknown(self._prefix, self.conf, map(self._styled, _TABLE))
        _refuse_unknown(_MARK, self.conf, _TABLE)
        _refuse_unknown(_MARK.upper(), os.environ, map(str.upper, _TABLE))


def _checked(kind: Kind, given: _Given) -> _Given:
    try:
        return _Given(given.label, kind.check(given.value))
    except (ValueError, OverflowError):
        shown = _masked(given.value) if kind.secret else _shown(given.value)
    raise ImproperlyConfigured(f"{given.label} is {shown}; allowed: {kind.allowed}")


def _shown(value: object) -> str:
    text = " ".join(repr(value).split())
    if _LOOKS_SECRET.search(text):
        return "***"
    return text if len(text) <= 200 else f"{text[:200]}..."


def _masked(value: object) -> str:
    scheme = redis_url.scheme(value)
    return "''" if value == "" else f"{scheme}://***" if scheme else "***"


def _refuse_unknown(prefix: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse any of `names` that begins with `prefix` and goes on as none of `known` does."""
    known = list(known)
    for name in names:
        rest = name.removeprefix(prefix)
        if name.startswith(prefix) and rest not in known:
            close = difflib.get_close_matches(rest, known, n=1)
            hint = f"did you mean {prefix}{close[0]}?" if close else f"allowed: {', '.join(known)}"
            raise ImproperlyConfigured(f"{name} is unknown; {hint}")


def _require(given: _Given, name: str, why: str) -> None:
    if given.value is None:
        allowed = _TABLE[name].kind.allowed
        raise ImproperlyConfigured(f"{given.label} is required{why}; allowed: {allowed}")


def _heroku(source: _Source) -> Heroku:
    app, key = source.get("heroku_app"), source.get("heroku_api_key")
    if key.value is None:
        key = _Given(key.label, source.get("heroku_password").value)
    _require(app, "heroku_app", " on Heroku, or the environment variable HEROKU_APP_NAME")
    _require(key, "heroku_api_key", " on Heroku, or the environment variable HEROKU_API_KEY")
    return Heroku(app.value, Secret(key.value), source.get("heroku_api_url").value)


def _redis(source: _Source, *, verify: bool) -> tuple[str, dict[str, Any]]:
    given, use_ssl = source.get("redis_url"), None
    if given.value is None and (found := redis_url.celerys(source.conf)):
        given, use_ssl = _checked(kinds.REDIS_URL, _Given(found.setting, found.url)), found.ssl
    if given.value is None and (url := os.environ.get("REDIS_URL")):
        given = _checked(kinds.REDIS_URL, _Given("REDIS_URL", url))
    _require(given, "redis_url", ": neither the broker, the result backend nor REDIS_URL is Redis")
    try:
        return redis_url.for_redis_py(given.value, use_ssl, verify=verify)
    except ValueError as error:
        label = f"ssl_cert_reqs of {given.label}"
        raise ImproperlyConfigured(
            f"{label} is {_shown(error.args[0])}; allowed: {redis_url.CERT_REQS}"
        ) from None


def _pools(source: _Source) -> tuple[Pool, ...]:
    label, given = source.get("pools")
    _refuse_crossed(source.get("min_workers"), source.get("max_workers"))
    pools = tuple(_pool(source, label, name, pool) for name, pool in given.items())
    pool_of: dict[str | None, str] = {}
    for pool in pools:
        for queue in (None,) if pool.queues is None else pool.queues:
            if queue in pool_of:
                what = "every other queue" if queue is None else f"the queue {queue!r}"
                raise ImproperlyConfigured(
                    f"{label} gives {what} to {pool_of[queue]!r} and to {pool.name!r}; "
                    "allowed: each queue in one pool, at most one pool without queues"
                )
            pool_of[queue] = pool.name
    return pools


def _pool(source: _Source, parent: str, name: str, given: Mapping[str, Any]) -> Pool:
    _checked(kinds.POOL_NAME, _Given(f"the name of a pool in {parent}", name))
    prefix = f"{parent}[{name!r}]."
    _refuse_unknown(prefix, [prefix + key for key in given], ("queues", *_LIMITS))

    def own(key: str, kind: Kind) -> _Given | None:
        value = given.get(key)
        return None if value is None else _checked(kind, _Given(prefix + key, value))

    queues = own("queues", kinds.QUEUES)
    least, most, jobs = (own(key, _TABLE[key].kind) or source.get(key) for key in _LIMITS)
    _require(most, "max_workers", f" for the pool {name!r}")
    _refuse_crossed(least, most, f" for the pool {name!r}")
    return Pool(name, queues and queues.value, least.value, most.value, jobs.value)


def _refuse_crossed(least: _Given, most: _Given, where: str = "") -> None:
    if most.value is not None and least.value > most.value:
        raise ImproperlyConfigured(
            f"{least.label} is {least.value}{where}; allowed: at most {most.label}, {most.value}"
        )
