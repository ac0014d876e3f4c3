"""Decide what to do about one pool: a pure function of what is known about it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.fleet import Fleet


@dataclass(frozen=True)
class EarlierCalls:
    """What earlier calls to the platform may still do, and how far they let a pool grow.

    Each is a number of workers, or None.
    """

    #: A fire to this quantity was sent, and its outcome is unknown: it may have been carried
    #: out, or may still be.
    unconfirmed_fire: int | None = None
    #: A fire to this quantity was carried out, and the platform may still be stopping the workers.
    stopping: int | None = None
    #: A hire to this quantity was sent, and its outcome is unknown. If it lands late, it overrides
    #: a later, larger hire and stops workers that were not drained.
    unconfirmed_hire: int | None = None
    #: Hire no more than this for now: the platform refused, or workers just hired did not report.
    hire_limit: int | None = None


@dataclass(frozen=True)
class Situation:
    """Everything that a decision depends on. Times are those of Redis (Unix, s)."""

    minimum: int
    maximum: int
    quantity: int
    #: The number of workers needed, within the limits.
    needed: int
    fleet: Fleet
    cordon: Cordon
    #: True if the demand was counted after this evaluation won the lock.
    fresh: bool
    #: True if the call interval has passed.
    may_call: bool
    #: True if the platform must not be called at all for now, because it failed or asked us not to.
    blocked: bool = False
    earlier: EarlierCalls = EarlierCalls()
    #: A worker that has been cordoned for this long (s) is fired even if it is busy.
    drain_timeout: float | None = None


@dataclass(frozen=True)
class Decision:
    """What to do, and what must be known before more can be done."""

    cordon: Cordon
    #: The quantity to set, None for no call.
    quantity: int | None = None
    #: Nothing can be fired until a fresh count is taken.
    wants_count: bool = False
    #: The platform should be asked which workers are running: it may know of some that have not
    #: reported.
    wants_running: bool = False
    #: A change has to wait until it is allowed.
    suppressed: bool = False
    #: Workers are being drained.
    draining: bool = False


def decide(situation: Situation) -> Decision:
    """Hire, fire or cordon workers of a pool, or leave it alone.

    - If more workers are needed, uncordon first, then hire those still missing; from zero at once.
    - If fewer are needed, after a fresh count, cordon the workers that the platform would stop
      first. Then lower the quantity as far as drained workers allow, and no further.
    - A worker that an earlier call may still stop stays cordoned, even if it is needed.
    """
    decision = _decide_by_need(situation)
    doomed_above = situation.quantity if situation.fleet.doomed else None
    bounds = (situation.earlier.stopping, doomed_above, _late_hire_bound(situation))
    if _lowest(*bounds) is None:
        return decision
    above = _lowest(decision.cordon.above, *bounds)
    cordon = _move_cordon(situation, above, decision.cordon.names)
    return replace(decision, cordon=cordon, draining=True)


def cordon_for_earlier_calls(situation: Situation) -> Cordon:
    """Return the cordon of workers that earlier calls may still stop, whatever is needed."""
    earlier = situation.earlier
    above = _lowest(earlier.unconfirmed_fire, earlier.stopping, _late_hire_bound(situation))
    return Cordon() if above is None else _move_cordon(situation, above, frozenset())


def may_hire_now(quantity: int | None, *, may_call: bool, blocked: bool) -> bool:
    """Return whether a pool of *quantity* workers may hire now.

    A pool with workers waits for the call interval; one without does not. Neither hires while the
    platform is *blocked*.
    """
    return (may_call or quantity == 0) and not blocked


def _decide_by_need(situation: Situation) -> Decision:
    """Decide by what is needed; an earlier fire of unknown outcome comes first."""
    if situation.earlier.unconfirmed_fire is not None:
        return _wait_for_fire(situation, situation.earlier.unconfirmed_fire)
    if situation.needed >= situation.quantity:
        return _hire(situation)
    if situation.fleet.unordered:
        return _fire_unordered(situation)
    return _fire(situation)


def _late_hire_bound(situation: Situation) -> int | None:
    """Return the number above which an unconfirmed hire, if it lands late, stops workers.

    Only workers hired by hand in the meantime can be above it. Where the platform picks which
    workers to stop, it may stop any of them, so the number is 0.
    """
    hire = situation.earlier.unconfirmed_hire
    if hire is not None and situation.fleet.unordered:
        return 0 if situation.quantity > hire else None
    return hire


def _wait_for_fire(situation: Situation, fire: int) -> Decision:
    """Keep every worker above *fire* cordoned: the platform may still stop it."""
    current = situation.cordon.above
    # Up to *fire*, uncordon workers that are needed again. Without a fresh count, cordon no more.
    above = fire if current is None else min(max(situation.needed, current), fire)
    return Decision(_move_cordon(situation, above, situation.cordon.names), draining=True)


def _hire(situation: Situation) -> Decision:
    # A worker that died at work and was not replaced counts as busy until the platform is asked.
    asks = situation.fleet.unknown((p.name for p in situation.fleet.living), situation.cordon)
    decision = Decision(Cordon(), wants_running=asks)
    if situation.needed == situation.quantity:
        return decision
    quantity, may_call, blocked = situation.quantity, situation.may_call, situation.blocked
    target = hire_target(situation)
    if target is None or not may_hire_now(quantity, may_call=may_call, blocked=blocked):
        return replace(decision, suppressed=True)
    return Decision(Cordon(), quantity=target)


def hire_target(situation: Situation) -> int | None:
    """Return the quantity to hire to, None if the hire has to wait.

    After an unconfirmed hire, only the same hire is sent again: the unconfirmed one could land
    after a different hire and override it.

    ========  ======  ======  ================  ==========  =======  ==============================
    quantity  needed  limits  unconfirmed hire  hire limit  hire to  because
    ========  ======  ======  ================  ==========  =======  ==============================
    2         5       0-9     -                 -           5        that many are needed
    2         5       0-9     -                 5           5        the limit allows it
    2         5       0-9     -                 4           4        the limit allows no more
    2         5       0-9     -                 2           -        the limit allows no hire
    2         5       0-9     -                 1           -        it would be a fire
    2         5       5-9     -                 4           -        it is below the minimum
    2         5       0-9     3                 -           3        the same again, though too few
    2         5       0-9     7                 -           7        the same again, though too many
    2         5       0-9     3                 3           3        the limit allows it
    2         5       0-9     7                 5           -        the limit forbids the same
    2         5       0-9     2                 -           -        the same again is no hire
    2         5       0-9     1                 -           -        it would be a fire
    2         5       4-9     3                 -           -        the minimum was raised since
    2         5       0-6     7                 -           -        the maximum was lowered since
    ========  ======  ======  ================  ==========  =======  ==============================
    """
    limit, same_again = situation.earlier.hire_limit, situation.earlier.unconfirmed_hire
    if same_again is None:
        target = situation.needed if limit is None else min(situation.needed, limit)
    elif limit is None or same_again <= limit:
        target = same_again
    else:
        return None
    grows = target > situation.quantity
    return target if grows and situation.minimum <= target <= situation.maximum else None


def _fire(situation: Situation) -> Decision:
    """Cordon the highest numbers, and lower the quantity past those that are drained.

    Both at once, since the number needed may change at every evaluation. A worker is drained under
    the cordon that is in force; it stays cordoned, as its number is above that needed.
    """
    cordon = _move_cordon(situation, situation.needed, frozenset())
    reach, known = situation.quantity, situation.cordon
    while reach > situation.needed and _may_stop(situation, situation.fleet.name_of(reach), known):
        reach -= 1
    decision = Decision(cordon, draining=True)
    if cordon.same_as(known):
        waits_for = [situation.fleet.name_of(n) for n in range(situation.needed + 1, reach + 1)]
        asks = situation.fleet.unknown(waits_for, cordon)
        decision = replace(decision, wants_running=asks)
    # Above the maximum (scaled by hand) we wait until one step leads back within the limits.
    if reach < situation.quantity and reach <= situation.maximum:
        decision = _lower_to(situation, decision, reach)
    return _require_fresh_count(situation, decision)


def _fire_unordered(situation: Situation) -> Decision:
    """Fire where the platform picks which workers to stop: all must be idle at that moment.

    Cordon only the surplus until no worker is seen to be busy and the call can be made. Then cordon
    all workers until it is made.
    """
    all_cordoned = situation.cordon.above == 0
    callable_soon = not situation.blocked and (situation.may_call or all_cordoned)
    if situation.fleet.busy() or not callable_soon:
        return _cordon_surplus(situation)
    cordon = _move_cordon(situation, 0, frozenset())
    decision = Decision(cordon, draining=True)
    if not cordon.same_as(situation.cordon) or not situation.fleet.idle(cordon):
        return _require_fresh_count(situation, decision)
    return _lower_to(situation, decision, situation.needed)


def _cordon_surplus(situation: Situation) -> Decision:
    """Cordon the surplus workers: first any cordoned before, then the idle, then the youngest."""
    living, cordoned = situation.fleet.living, situation.cordon.names
    surplus = sorted(
        {p.name: p for p in living}.values(),
        key=lambda p: (p.name not in cordoned, p.busy > 0, -p.since),
    )[: situation.quantity - situation.needed]
    cordon = _move_cordon(situation, None, frozenset(p.name for p in surplus))
    asks = situation.fleet.unknown((p.name for p in living), situation.cordon)
    return _require_fresh_count(situation, Decision(cordon, draining=True, wants_running=asks))


def _lower_to(situation: Situation, decision: Decision, quantity: int) -> Decision:
    """Lower the quantity, or first do what that requires."""
    if not situation.may_call or situation.blocked:
        return replace(decision, suppressed=True)
    if not situation.fresh:
        return _count_first(situation)
    if situation.fleet.running is None:
        # A worker that has never reported may be up.
        return replace(decision, wants_running=True)
    return replace(decision, quantity=quantity)


def _require_fresh_count(situation: Situation, decision: Decision) -> Decision:
    """Return *decision* if it keeps the cordon or rests on a fresh count; otherwise count first."""
    if situation.fresh or decision.cordon.same_as(situation.cordon):
        return decision
    return _count_first(situation)


def _count_first(situation: Situation) -> Decision:
    return Decision(situation.cordon, wants_count=True, draining=bool(situation.cordon))


def _may_stop(situation: Situation, name: str, cordon: Cordon) -> bool:
    """Return whether the worker of this name is drained, or its drain timeout has passed."""
    if situation.fleet.drained(name, cordon):
        return True
    since = cordon.since.get(name, situation.fleet.now)
    return (
        situation.drain_timeout is not None
        and situation.fleet.now - since >= situation.drain_timeout
    )


def _move_cordon(situation: Situation, above: int | None, names: frozenset[str]) -> Cordon:
    fleet = situation.fleet
    workers = fleet.names(situation.quantity)
    return situation.cordon.move(above, names, workers, fleet.now, fleet.traits)


def _lowest(*numbers: int | None) -> int | None:
    return min((n for n in numbers if n is not None), default=None)
