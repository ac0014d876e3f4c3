"""The place where a process may hire and fire: a dyno of the Heroku app itself."""

from __future__ import annotations

import re
from collections.abc import Mapping

_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def away_from(app: str | None, environ: Mapping[str, str]) -> str:
    """Say why a process with this environment is not on a dyno of *app* (a name or an id).

    Returns:
        "" if it is on one, or if that cannot be ruled out: a dyno knows its app's name and id only
            if the app has the labs feature ``runtime-dyno-metadata``.
    """
    if not environ.get("DYNO", "").strip():
        return "it does not run on a dyno (DYNO is not in its environment)"
    if environ.get("HEROKU_TEST_RUN_ID"):
        return "it runs in Heroku CI"
    here = environ.get("HEROKU_APP_ID" if app and _ID.fullmatch(app) else "HEROKU_APP_NAME")
    if app and here and here != app:
        return f"it runs on a dyno of the Heroku app {here!r}"
    return ""
