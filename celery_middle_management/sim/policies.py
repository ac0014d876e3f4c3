"""The policies that a simulation knows, by their names on the command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from celery_middle_management.sim.cluster import Cluster
from celery_middle_management.sim.managed import Managed
from celery_middle_management.sim.rivals.aws import Aws
from celery_middle_management.sim.rivals.hirefire import HireFire
from celery_middle_management.sim.rivals.judoscale import Judoscale
from celery_middle_management.sim.rivals.keda import Keda
from celery_middle_management.sim.rivals.original import Original
from celery_middle_management.sim.scaler import (
    EventScaler,
    Fixed,
    PeriodicRule,
    PeriodicScaler,
    Scaler,
)

#: What a name looks like: a kind, a number that it may need, and an interval (s) that it may have.
_NAME = re.compile(
    r"(?P<kind>[a-z_]+)(:(?P<number>[1-9][0-9]{0,3}))?(@(?P<interval>[1-9][0-9]{0,3}))?"
)
#: The same of a policy that has a time (s) instead of a number.
_MAX_WAIT = re.compile(r"max_wait:(?P<seconds>(?![0.]+$)(0|[1-9][0-9]{0,5})(\.[0-9]{1,3})?)")
_AUTO = "jobs_per_worker:auto"
#: What is allowed, in words.
ALLOWED = (
    "jobs_per_worker:N, jobs_per_worker:auto, max_wait:S, fixed:N, hirefire:N (or "
    "hirefire:N@SECONDS), judoscale, keda:N, aws:N, original:N, where N and SECONDS are whole "
    "numbers from 1 to 9999 and S is a number of seconds such as 30 or 2.5"
)

#: Times that are whole multiples of one by this (s) have no rounding errors.
_EXACT = 1024


class PolicyError(ValueError):
    """A name is none of a policy's. The message is one line."""


@dataclass(frozen=True)
class Policy:
    """A policy that can be simulated."""

    name: str
    #: Returns the scaler of a cluster that follows the policy.
    scaler: Callable[[Cluster], Scaler]
    #: True if it is Middle Management's own.
    managed: bool = False


def policy_named(name: str) -> Policy:
    """Return the policy of a name such as ``hirefire:5@15``.

    Raises:
        PolicyError: there is none.
    """
    if name == _AUTO:
        return Policy(name, Managed, managed=True)
    if timed := _MAX_WAIT.fullmatch(name):
        seconds = float(timed["seconds"])
        return Policy(name, lambda c: Managed(c, max_wait=seconds), managed=True)
    match = _NAME.fullmatch(name)
    kind = match["kind"] if match else ""
    number = int(match["number"]) if match and match["number"] else None
    interval = float(match["interval"]) if match and match["interval"] else None
    if interval is not None and kind != "hirefire":
        raise _unknown(name)
    if kind == "judoscale" and number is None:
        return Policy(name, _periodic(Judoscale))
    if number is None:
        raise _unknown(name)
    kinds: dict[str, Callable[[int], Policy]] = {
        "jobs_per_worker": lambda n: Policy(name, lambda c: Managed(c, n), managed=True),
        "fixed": lambda n: Policy(name, lambda c: Fixed(c, n)),
        "hirefire": lambda n: Policy(name, _periodic(lambda: HireFire(n, interval or 60.0))),
        "keda": lambda n: Policy(name, _periodic(lambda: Keda(n))),
        "aws": lambda n: Policy(name, _periodic(lambda: Aws(n))),
        "original": lambda n: Policy(name, lambda c: EventScaler(c, Original(n))),
    }
    if kind not in kinds:
        raise _unknown(name)
    return kinds[kind](number)


def _unknown(name: str) -> PolicyError:
    return PolicyError(f"there is no policy {name[:80]!r}; allowed: {ALLOWED}")


def _periodic(rule: Callable[[], PeriodicRule]) -> Callable[[Cluster], Scaler]:
    """Return a scaler that begins at a random moment: checks know nothing of the trace's clock."""

    def scaler(cluster: Cluster) -> Scaler:
        made = rule()
        begins = Random(cluster.model.seed).random() * made.interval
        # All times of checks are exact: no rounding error decides how many make a minute.
        return PeriodicScaler(cluster, made, int(begins * _EXACT) / _EXACT)

    return scaler
