"""The resources of Heroku's Platform API that concern scaling: request in, answer out."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from datetime import datetime
from urllib.parse import unquote

from .answers import Answer, Json, Refusal, above_limit, invalid, not_found
from .dyno import DynoInfo, utcnow
from .formation import Formation
from .one_offs import Full, parse

MAX_QUANTITY = 100
SIZE = "Standard-1X"
#: Of Heroku's sizes; null for those that only Enterprise accounts have.
COSTS: dict[str, Json | None] = {
    "Eco": {"cents": 500, "unit": "month"},
    "Basic": {"cents": 700, "unit": "month"},
    "Standard-1X": {"cents": 2500, "unit": "month"},
    "Standard-2X": {"cents": 5000, "unit": "month"},
    "Performance-M": {"cents": 25000, "unit": "month"},
    "Private-S": None,
}
RANGE = re.compile(r"id (?P<after>\])?(?P<start>[^.;\s]*)\.\.")


class Api:
    """The API of one app.

    Attributes:
        rate_limit_remaining: the number that every answer gives.
        page_size: the most items in one answer, which is a 206 if there are more.
        limits: the most dynos that each process type may be scaled to.
        app_limit: the most dynos that the app may be scaled to, all types together.
        size: the size of every dyno, except one-off dynos requested with another size.
        costs: the cost of each size.
    """

    def __init__(self, app: str, formation: Formation) -> None:
        self.rate_limit_remaining = 4500
        self.page_size = 200
        self.limits: dict[str, int] = {}
        self.size = SIZE
        self.costs: dict[str, Json | None] = dict(COSTS)
        self.app_limit = MAX_QUANTITY
        self._app = app
        self._app_id = _uuid(app)
        self._formation = formation
        self._created_at = utcnow()
        self._routes: list[tuple[str, re.Pattern[str], Callable[..., Answer]]] = [
            (method, re.compile(pattern.replace("{}", "([^/]+)") + "$"), handler)
            for method, pattern, handler in (
                ("GET", "/account/rate-limits", self._get_rate_limits),
                ("GET", "/dyno-sizes", self._list_sizes),
                ("GET", "/apps/{}", self._get_app),
                ("GET", "/apps/{}/formation", self._list_formation),
                ("PATCH", "/apps/{}/formation", self._batch_update),
                ("GET", "/apps/{}/formation/{}", self._get_formation),
                ("PATCH", "/apps/{}/formation/{}", self._update),
                ("GET", "/apps/{}/dynos", self._list_dynos),
                ("POST", "/apps/{}/dynos", self._run),
                ("DELETE", "/apps/{}/dynos", self._restart_all),
                ("GET", "/apps/{}/dynos/{}", self._get_dyno),
                ("DELETE", "/apps/{}/dynos/{}", self._restart_dyno),
                ("POST", "/apps/{}/dynos/{}/actions/stop", self._stop_dyno),
                ("DELETE", "/apps/{}/formations/{}", self._restart_type),
                ("POST", "/apps/{}/formations/{}/actions/stop", self._stop_type),
            )
        ]

    def handle(
        self, method: str, path: str, body: str, range_: str | None, copies: int = 1
    ) -> Answer:
        """Carry out a request; raises Refusal. ``copies``: dynos started per requested dyno."""
        for route_method, pattern, handler in self._routes:
            match = pattern.match(path)
            if match and route_method == method:
                names = [unquote(name) for name in match.groups()]
                if names and names[0] not in (self._app, self._app_id):
                    raise not_found("app", "Couldn't find that app.")
                if method == "PATCH":
                    return handler(*names[1:], _parse(body))
                if handler == self._run:
                    return self._run(_parse(body), copies)
                return self._page(handler(*names[1:]), range_)
        raise Refusal(404, "not_found", "The requested API endpoint was not found.")

    def _page(self, answer: Answer, range_: str | None) -> Answer:
        if not isinstance(answer.payload, list):
            return answer
        items = sorted(answer.payload, key=lambda item: str(item["id"]))
        match = RANGE.match(range_ or "")
        start = match["start"] if match else ""
        if match and match["after"]:
            items = [item for item in items if item["id"] > start]
        else:
            items = [item for item in items if item["id"] >= start]
        if len(items) <= self.page_size:
            return Answer(answer.status, items)
        page = items[: self.page_size]
        following = f"id ]{page[-1]['id']}..; max={self.page_size}"
        return Answer(206, page, {"Next-Range": following})

    def _get_rate_limits(self) -> Answer:
        return Answer(200, {"remaining": self.rate_limit_remaining})

    def _list_sizes(self) -> Answer:
        sizes = [
            {"id": _uuid(name), "name": name, "cost": cost} for name, cost in self.costs.items()
        ]
        return Answer(200, sizes)

    def _get_app(self) -> Answer:
        return Answer(200, {**self._app_reference(), "created_at": _iso(self._created_at)})

    def _list_formation(self) -> Answer:
        return Answer(200, [self._process_type(name) for name in self._formation.quantities()])

    def _get_formation(self, name: str) -> Answer:
        return Answer(200, self._process_type(self._existing(name)))

    def _update(self, name: str, body: Json) -> Answer:
        name = self._existing(name)
        if (quantity := _quantity(body)) is not None:
            self._scale({name: quantity})
        return Answer(200, self._process_type(name))

    def _batch_update(self, body: Json) -> Answer:
        updates = body.get("updates")
        if not isinstance(updates, list):
            raise invalid("Updates must be an array.")
        names: list[str] = []
        quantities: dict[str, int] = {}
        for update in updates:
            if not isinstance(update, dict) or not isinstance(update.get("type"), str):
                raise invalid("Each update must have a type.")
            names.append(self._existing(update["type"]))
            if (quantity := _quantity(update)) is not None:
                quantities[names[-1]] = quantity
        self._scale(quantities)
        return Answer(200, [self._process_type(name) for name in names])

    def _scale(self, quantities: dict[str, int]) -> None:
        """Set all quantities, or none if one of them is above a limit."""
        for name, quantity in quantities.items():
            if quantity > self.limits.get(name, quantity):
                raise above_limit(self.limits[name], SIZE)
        before = self._formation.quantities()
        if sum(before.values()) < sum({**before, **quantities}.values()) > self.app_limit:
            raise above_limit(self.app_limit, SIZE)
        try:
            self._formation.scale(quantities, by="api")
        except KeyError:  # it was removed just now
            raise not_found("formation", "Couldn't find that formation.") from None

    def _list_dynos(self) -> Answer:
        return Answer(200, [self._dyno_json(dyno) for dyno in self._dynos()])

    def _get_dyno(self, identity: str) -> Answer:
        return Answer(200, self._dyno_json(self._dyno(identity)))

    def _run(self, body: Json, copies: int) -> Answer:
        order = parse(body, self.size, fir=self._formation.dyno_names == "fir")
        try:
            dyno = self._formation.run(order, copies)
        except Full as full:
            raise above_limit(full.limit, order.size) from None
        return Answer(201, self._dyno_json(dyno))

    def _restart_all(self) -> Answer:
        self._formation.restart([dyno.id for dyno in self._dynos()], "restart")
        return Answer(202, {})

    def _restart_dyno(self, identity: str) -> Answer:
        dyno = self._dyno(identity)
        if dyno.one_off:  # it is not replaced
            self._formation.stop([dyno.id])
        else:
            self._formation.restart([dyno.id], "restart")
        return Answer(202, {})

    def _stop_dyno(self, identity: str) -> Answer:
        self._formation.stop([self._dyno(identity).id])
        return Answer(202, {})

    def _restart_type(self, name: str) -> Answer:
        self._formation.restart(self._ids(self._existing(name)), "restart")
        return Answer(202, {})

    def _stop_type(self, name: str) -> Answer:
        self._formation.stop(self._ids(self._existing(name)))
        return Answer(202, {})

    def _ids(self, name: str) -> list[str]:
        """The ids of the formation's dynos of that type."""
        return [dyno.id for dyno in self._dynos() if dyno.type == name and not dyno.one_off]

    def _dynos(self) -> list[DynoInfo]:
        return [dyno for dyno in self._formation.dynos() if dyno.state != "stopping"]

    def _dyno(self, identity: str) -> DynoInfo:
        for dyno in self._dynos():
            if identity in (dyno.id, dyno.name):
                return dyno
        raise not_found("dyno", "Couldn't find that dyno.")

    def _existing(self, identity: str) -> str:
        for name in self._formation.quantities():
            if identity in (name, self._type_id(name)):
                return name
        raise not_found("formation", "Couldn't find that formation.")

    def _app_reference(self) -> Json:
        return {"id": self._app_id, "name": self._app}

    def _type_id(self, name: str) -> str:
        return _uuid(f"{self._app}/{name}")

    def _process_type(self, name: str) -> Json:
        return {
            "app": self._app_reference(),
            "command": self._formation.definition(name),
            "created_at": _iso(self._created_at),
            "dyno_size": {"id": _uuid(self.size), "name": self.size},
            "id": self._type_id(name),
            "quantity": self._formation.quantities().get(name, 0),
            "size": self.size,
            "type": name,
            "updated_at": _iso(utcnow()),
        }

    def _dyno_json(self, dyno: DynoInfo) -> Json:
        return {
            "app": self._app_reference(),
            "attach_url": None,
            "command": dyno.command,
            "created_at": _iso(dyno.created_at),
            "id": dyno.id,
            "name": dyno.name,
            "release": {"id": _uuid(f"{self._app}/v{dyno.release}"), "version": dyno.release},
            "size": dyno.size or self.size,
            "state": dyno.state,
            "type": dyno.type,
            "updated_at": _iso(utcnow()),
        }


def _parse(body: str) -> Json:
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise invalid("The request body is not a JSON object.")
    return parsed


def _quantity(update: Json) -> int | None:
    if unknown := update.keys() - {"type", "quantity", "dyno_size"}:
        raise invalid(f"Unknown parameter: {', '.join(sorted(unknown))}.")
    quantity = update.get("quantity")
    if quantity is None and "quantity" not in update:
        return None
    if isinstance(quantity, bool) or not isinstance(quantity, int) or quantity < 0:
        raise invalid("Quantity must be a non-negative integer.")
    if quantity > MAX_QUANTITY:
        raise invalid(f"Cannot scale to more than {MAX_QUANTITY} dynos.")
    return quantity


def _uuid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


def _iso(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
