"""The monthly prices of Heroku's dynos, from ``/dyno-sizes``.

See https://devcenter.heroku.com/articles/platform-api-reference#dyno-size. Sizes without a price of
their own are left out: those of Enterprise accounts (no cost, or 0), and eco, since all eco dynos
of an account share one plan of $5 a month (https://devcenter.heroku.com/articles/eco-dyno-hours).
"""

from __future__ import annotations

from typing import Any

from heroku3.models.app import App


def prices(app: App) -> dict[str, int]:
    """Return the price (cents a month) of each size that has one, by its name in small letters."""
    client: Any = app._h
    answer = client._http_resource(method="GET", resource=("dyno-sizes",))
    found = {}
    for size in client._resource_deserialize(answer.text):
        name, cost = str(size["name"]).lower(), size.get("cost") or {}
        if name != "eco" and cost.get("unit") == "month" and int(cost["cents"]) > 0:
            found[name] = int(cost["cents"])
    return found
