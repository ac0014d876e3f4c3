"""Heroku, through heroku3: the dynos of an app's process types."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from heroku3.models.app import App

from celery_middle_management.core.pools import Pool
from celery_middle_management.platforms.base import Platform, PlatformError, Refused
from celery_middle_management.platforms.heroku_calls import HerokuCalls
from celery_middle_management.platforms.heroku_one_off import (
    RUNNING,
    HerokuOneOffs,
    ProcessType,
    process_types,
)
from celery_middle_management.platforms.heroku_prices import prices
from celery_middle_management.settings.model import Heroku


class HerokuPlatform(Platform):
    """Scales an app's formation. Thread-safe; keeps no connection open between calls."""

    one_offs: HerokuOneOffs

    def __init__(self, settings: Heroku, pools: Collection[Pool] = ()) -> None:
        self._settings = settings
        calls = HerokuCalls(settings)
        self._call = calls.call
        self.sizes: Mapping[str, str] = {}
        self.one_offs = HerokuOneOffs(calls, pools)

    def quantities(self, pools: Collection[str], deadline: float) -> dict[str, int | Refused]:
        formation = self._call(lambda app: self._quantities(app.process_formation()), deadline)
        return {
            pool: formation[pool] if pool in formation else self._missing(pool, formation)
            for pool in pools
        }

    def scale(
        self, quantities: Mapping[str, int], deadline: float
    ) -> dict[str, int | PlatformError]:
        if not quantities:
            return {}
        try:
            return dict(self._update(quantities, deadline))
        except Refused as error:
            if len(quantities) == 1:
                return dict.fromkeys(quantities, error)
        # Heroku refused the whole request because of one of them.
        return self._scale_singly(quantities, deadline)

    def running(self, pools: Collection[str], deadline: float) -> dict[str, list[str]]:
        def names(app: App) -> dict[str, list[str]]:
            dynos = [dyno for dyno in app.dynos() if dyno.state in RUNNING]
            return {pool: [str(d.name) for d in dynos if d.type == pool] for pool in pools}

        return self._call(names, deadline)

    def prices(self, deadline: float) -> dict[str, int]:
        return self._call(prices, deadline)

    def process_types(self, deadline: float) -> dict[str, ProcessType]:
        """Return every process type of the app, by name."""
        return self._call(process_types, deadline)

    def assert_may_scale(self, deadline: float) -> None:
        """Request an empty change, which tells whether Heroku lets this account scale.

        Raises:
            PlatformError: the account may not scale, or Heroku gave no clear answer.
        """
        try:
            self._update({}, deadline)
        except Refused:
            return  # Heroku read the change, so the account may make one.

    def _scale_singly(
        self, quantities: Mapping[str, int], deadline: float
    ) -> dict[str, int | PlatformError]:
        outcomes: dict[str, int | PlatformError] = {}
        trouble: PlatformError | None = None
        for pool, quantity in quantities.items():
            if trouble is not None:
                outcomes[pool] = PlatformError(f"Not requested, because: {trouble}", settled=True)
                continue
            try:
                outcomes |= self._update({pool: quantity}, deadline)
            except Refused as error:
                outcomes[pool] = error
            except PlatformError as error:
                outcomes[pool] = trouble = error
        return outcomes

    def _update(self, quantities: Mapping[str, int], deadline: float) -> dict[str, int]:
        def update(app: App) -> dict[str, int]:
            formation = self._quantities(app.batch_scale_formation_processes(quantities))
            return {pool: formation[pool] for pool in quantities}

        return self._call(update, deadline)

    def _quantities(self, formation: Iterable[Any]) -> dict[str, int]:
        """Return the quantity of each process type. Raises TypeError if one is missing."""
        types = list(formation)
        self.sizes = {**self.sizes, **{str(t.type): str(t.size).lower() for t in types if t.size}}
        return {str(t.type): int(t.quantity) for t in types}

    def _missing(self, pool: str, existing: Iterable[str]) -> Refused:
        listed = ", ".join(repr(name) for name in sorted(existing)) or "none"
        return Refused(
            f"Heroku app {self._settings.app!r} has no process type {pool!r}; it has {listed}."
            " Add the type to its Procfile and deploy, or name an existing one in"
            " middle_management_pools.",
            unknown=True,
        )
