"""A client for the ledger's Redis that follows a failover and never shows the password.

A server that is no longer the primary may keep its connections open. So a connection is closed as
soon as an answer says that the server is not the primary: the next connection goes wherever the
address leads by then.

The password is not among the client's arguments, which some releases of redis-py print. It is
looked up only when a connection is made, and errors of that step do not show it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.retry import Retry

from celery_middle_management.settings.model import Settings
from celery_middle_management.settings.redis_address import parsed
from celery_middle_management.settings.secret import Secret, bare, told

#: Longest wait (s) for Redis to connect or to answer.
TIMEOUT = 3.0

#: How many of a command's arguments the connection pool needs: none as of redis-py 5.3.
_NAMED = int(
    inspect.signature(redis.BlockingConnectionPool.get_connection)
    .parameters["command_name"]
    .default
    is inspect.Parameter.empty
)

#: redis-py has a class for each of these errors, and leaves the code out of their text.
_NO_PRIMARY = (
    exceptions.ReadOnlyError,
    exceptions.BusyLoadingError,
    exceptions.MasterDownError,
    exceptions.MovedError,
)
#: Before Redis 7, if an error occurs within a script, its code is somewhere in the text.
_NO_PRIMARY_CODE = re.compile(r"\b(READONLY|LOADING|MASTERDOWN|MOVED|NOREPLICAS)\b")


def connect(settings: Settings) -> redis.Redis:
    """Return a client with bounded waits, and one connection that all threads share."""
    untyped: Any = redis.BlockingConnectionPool
    pool = untyped(
        max_connections=1,
        timeout=2 * TIMEOUT,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        protocol=2,
        # If the server has closed an idle connection, the client notices only when it uses it.
        retry=Retry(NoBackoff(), 1),
        decode_responses=True,
        redis_connect_func=_log_in(settings.redis_url),
        **_arguments(settings.redis_url),
        **settings.redis_options,
    )
    return _Client.from_pool(pool)


def no_primary(error: redis.RedisError) -> bool:
    """Return whether *error* says that the server is loading, cut off, or not the primary."""
    return isinstance(error, _NO_PRIMARY) or bool(_NO_PRIMARY_CODE.search(str(error)))


class _Client(redis.Redis):
    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Do what redis-py's method does, but without the wrapper that a tracer puts around it.

        Otherwise each report, one a second, would become a trace of its own.
        """
        pool: Any = self.connection_pool
        connection = pool.get_connection(*args[:_NAMED])

        def ask() -> Any:
            connection.send_command(*args, **options)
            return self.parse_response(connection, args[0], **options)

        try:
            return connection.retry.call_with_retry(ask, lambda _: connection.disconnect())
        finally:
            pool.release(connection)

    def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:
        parse: Any = super().parse_response
        try:
            return parse(connection, command_name, **options)
        except redis.RedisError as error:
            if no_primary(error):
                connection.disconnect()
            raise

    def register_script(self, script: Any) -> Script:
        return _Script(self, script)


class _Script(Script):
    """A script that is loaded before its first use.

    redis-py itself loads a script only after an error, which would show in the app's traces and in
    Redis's statistics.
    """

    _is_loaded = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._is_loaded:
            self.registered_client.script_load(self.script)
            self._is_loaded = True
        return super().__call__(*args, **kwargs)


class _Credentials(redis.CredentialProvider):
    """Reads the user and password from an address only when they are sent."""

    def __init__(self, url: Secret) -> None:
        self._url = url

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        given = parsed(self._url)
        user, password = given.get("username"), given.get("password", "")
        return (user, password) if user else (password,)


def _log_in(url: Secret) -> Callable[[Any], None]:
    """Return a function that connects as redis-py does, but keeps the password out of its errors.

    redis-py's frames hold the password, and a server that does not know AUTH quotes it.
    """

    def log_in(connection: Any) -> None:
        failure: redis.RedisError
        try:
            connection.on_connect()
            return
        except redis.RedisError as error:
            failure = bare(error)
            failure.args = (told(error, [url.reveal()]).partition(": ")[2],)
        except Exception as error:  # noqa: BLE001 - such as a password that is not text
            failure = redis.ConnectionError(told(error, [url.reveal()]))
        raise failure

    return log_in


def _arguments(url: Secret) -> dict[str, Any]:
    """Return the arguments of a connection."""
    given = parsed(url)
    user, password = given.pop("username", None), given.pop("password", None)
    if user or password:
        given["credential_provider"] = _Credentials(url)
    return given
