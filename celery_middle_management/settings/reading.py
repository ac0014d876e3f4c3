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
from celery_middle_management.settings.place import away_from
from celery_middle_management.settings.secret import Secret, bare


class NotNeededHere(ImproperlyConfigured):
    """A required setting is missing where nothing would be hired or fired: that is no fault."""


def read_settings(app: Celery) -> Settings | None:
    """The settings of *app*, from its Celery configuration, else from the environment.

    Returns:
        None where ``middle_management_enabled`` is off, or the environment variable of that name
            switches it off, and nothing else is checked; or absent, and only unknown names are
            looked for, for it may be mistyped.

    Raises:
        ImproperlyConfigured: a setting is unknown, missing or wrong. The message is one line that
            names the setting, its value (never a secret) and what is allowed.
        NotNeededHere: a required setting is missing, off the platform.
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
    # Switched off, it is so whatever else is wrong; absent, it may be mistyped.
    if source.switched_off:
        return None
    enabled = source.get("enabled").value
    if enabled is not False:
        source.refuse_unknown()
    if not enabled:
        return None
    # Each is looked up and checked once.
    given = {name: source.get(name) for name in _TABLE}
    value = {name: one.value for name, one in given.items()}
    on_heroku = value["platform"] == "heroku"
    inactive = ""
    if on_heroku and not value["off_platform"]:
        inactive = away_from(value["heroku_app"], os.environ)
    try:
        # Heroku's Redis has a certificate that it signed itself.
        url, options = _redis(given["redis_url"], source.conf, verify=not on_heroku)
        return Settings(
            platform=value["platform"],
            pools=_pools(given),
            redis_url=Secret(url),
            redis_options=options,
            call_interval=value["call_interval"],
            count_interval=value["count_interval"],
            drain_timeout=value["drain_timeout"],
            heroku=_heroku(given, calls=not inactive) if on_heroku else None,
            celery_app=value["celery_app"],
            dry_run=value["dry_run"],
            inactive=inactive,
        )
    except _Missing as error:
        kind = NotNeededHere if inactive else ImproperlyConfigured
        raise kind(str(error)) from None


class _Missing(ImproperlyConfigured):
    """A required setting is."""


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
    "celery_app": _Setting(kinds.CELERY_APP),
    "heroku_app": _Setting(kinds.APP, fallback="HEROKU_APP_NAME"),
    "heroku_api_key": _Setting(kinds.API_KEY, fallback="HEROKU_API_KEY"),
    "heroku_username": _Setting(kinds.ANYTHING),  # the Ruby gem's, not needed; and the gem's
    "heroku_password": _Setting(kinds.API_KEY),  # name for the key
    "heroku_api_url": _Setting(kinds.API_URL, "https://api.heroku.com"),
    "redis_url": _Setting(kinds.REDIS_URL),
    "min_workers": _Setting(kinds.WHOLE, 0),
    "max_workers": _Setting(kinds.WHOLE),
    "jobs_per_worker": _Setting(kinds.POSITIVE, 10),
    "dynos": _Setting(kinds.DYNOS, "formation"),
    "dyno_size": _Setting(kinds.DYNO_SIZE),
    "pools": _Setting(kinds.POOLS, {"worker": {}}),
    "call_interval": _Setting(kinds.SECONDS, 10.0),
    "count_interval": _Setting(kinds.SECONDS, 60.0),
    "drain_timeout": _Setting(kinds.SECONDS_OR_NONE),
    "dry_run": _Setting(kinds.BOOLEAN, False),
    "off_platform": _Setting(kinds.BOOLEAN, False),
}
#: What a pool may have of its own.
_OWN = ("min_workers", "max_workers", "jobs_per_worker", "dynos", "dyno_size")
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

    @property
    def switched_off(self) -> bool:
        """Whether the environment says so, whatever the code says: it knows where it runs."""
        variable = (_MARK + "enabled").upper()
        text = os.environ.get(variable, "")
        said = kinds.BOOLEAN.from_text(text)
        if text and self.conf.get(_MARK + "enabled"):
            _checked(kinds.BOOLEAN, _Given(variable, said))
        return said is False

    def refuse_unknown(self) -> None:
        """Refuse what looks like ours and is not."""
        _refuse_unknown(self._prefix, self.conf, map(self._styled, _TABLE))
        _refuse_unknown(_MARK, self.conf, _TABLE)
        _refuse_unknown(_MARK.upper(), os.environ, map(str.upper, _TABLE))
        self._refuse_without_namespace()

    def _refuse_without_namespace(self) -> None:
        """Refuse capitals, as in Django's settings, that lack the namespace: they do nothing."""
        names = set(self.conf)  # as they are written; `in` finds them by any of their names
        for name in _TABLE:
            written, meant = (_MARK + name).upper(), self._prefix + self._styled(name)
            if written in names and written != meant and self.conf.get(meant) is None:
                raise ImproperlyConfigured(f"{written} does nothing; did you mean {meant}?")


def _checked(kind: Kind, given: _Given) -> _Given:
    try:
        return _Given(given.label, kind.check(given.value))
    except (ValueError, OverflowError):
        shown = _masked(given.value) if kind.secret else _shown(given.value)
        # One that spells an allowed value does not look wrong.
        if isinstance(given.value, str) and kind.from_text(given.value) != given.value:
            shown += ", a string"
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
    """Refuse any of *names* that begins with *prefix* and goes on as none of *known* does."""
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
        raise _Missing(f"{given.label} is required{why}; allowed: {allowed}")


def _heroku(all_given: Mapping[str, _Given], *, calls: bool) -> Heroku:
    app, key = all_given["heroku_app"], all_given["heroku_api_key"]
    if key.value is None and (password := all_given["heroku_password"]).value is not None:
        key = password
    _require(app, "heroku_app", " on Heroku, or the environment variable HEROKU_APP_NAME")
    if calls:
        _require(key, "heroku_api_key", " on Heroku, or the environment variable HEROKU_API_KEY")
    url = all_given["heroku_api_url"].value
    secret = Secret(key.value or "")
    return Heroku(app.value, secret, url, app_from=app.label, key_from=key.label)


def _redis(given: _Given, conf: Any, *, verify: bool) -> tuple[str, dict[str, Any]]:
    use_ssl = None
    if given.value is None and (found := redis_url.celerys(conf)):
        given, use_ssl = _checked(kinds.REDIS_URL, _Given(found.setting, found.url)), found.ssl
    if given.value is None and (url := os.environ.get("REDIS_URL")):
        try:
            given = _checked(kinds.REDIS_URL, _Given("REDIS_URL", url))
        except ImproperlyConfigured as error:
            # It is not ours, and in a test it may be `memory://`.
            raise _Missing(str(error)) from None
    _require(given, "redis_url", ": neither the broker, the result backend nor REDIS_URL is Redis")
    try:
        return redis_url.for_redis_py(given.value, use_ssl, verify=verify)
    except ValueError as error:
        label = f"ssl_cert_reqs of {given.label}"
        raise ImproperlyConfigured(
            f"{label} is {_shown(error.args[0])}; allowed: {redis_url.CERT_REQS}"
        ) from None


def _pools(all_given: Mapping[str, _Given]) -> tuple[Pool, ...]:
    label, given = all_given["pools"]
    _refuse_crossed(all_given["min_workers"], all_given["max_workers"])
    pools = tuple(_pool(all_given, label, name, pool) for name, pool in given.items())
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


def _pool(
    all_given: Mapping[str, _Given], parent: str, name: str, given: Mapping[str, Any]
) -> Pool:
    _checked(kinds.POOL_NAME, _Given(f"the name of a pool in {parent}", name))
    prefix = f"{parent}[{name!r}]."
    _refuse_unknown(prefix, [prefix + key for key in given], ("queues", *_OWN))

    def own(key: str, kind: Kind) -> _Given | None:
        value = given.get(key)
        return None if value is None else _checked(kind, _Given(prefix + key, value))

    queues = own("queues", kinds.QUEUES)
    least, most, jobs, dynos, size = (own(key, _TABLE[key].kind) or all_given[key] for key in _OWN)
    where = f" for the pool {name!r}"
    _require(most, "max_workers", where)
    _refuse_crossed(least, most, where)
    one_off = dynos.value == "one-off"
    if size.value is not None and not one_off:
        raise ImproperlyConfigured(
            f"{size.label} is {_shown(size.value)}; allowed: only where {dynos.label} is "
            "'one-off', for the others have the size of their process type"
        )
    return Pool(
        name=name,
        queues=queues and queues.value,
        min_workers=least.value if most.value else 0,
        max_workers=most.value,
        jobs_per_worker=jobs.value,
        one_off=one_off,
        dyno_size=size.value,
    )


def _refuse_crossed(least: _Given, most: _Given, where: str = "") -> None:
    # At most none is none, whatever the least is to be.
    if most.value and least.value > most.value:
        raise ImproperlyConfigured(
            f"{least.label} is {least.value}{where}; allowed: at most {most.label}, {most.value}"
        )
