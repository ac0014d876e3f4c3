"""An HTTPS adapter (for requests) that stays cooperative if gevent or eventlet patches late."""

from __future__ import annotations

import ssl
from typing import Any

from requests.adapters import HTTPAdapter


class Https(HTTPAdapter):
    """Makes its SSL context from the ``ssl`` module as it is now.

    urllib3 keeps the class that it found when it was imported. If the standard library is patched
    after that, that class blocks all greenlets or recurses without end.
    """

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=_context())

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, **{**kwargs, "ssl_context": _context()})


def _context() -> ssl.SSLContext:
    """Make a context that verifies host and certificate; requests adds the authorities."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
