"""What to do about one pool: a pure function of what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.fleet import Fleet


@dataclass(frozen=True)
class Situation:
    """All that a decision rests on. Times are Redis', Unix (s)."""

    minimum: int
    maximum: int
    quantity: int
    #: Workers needed, within the limits.
    needed: int
    fleet: Fleet
    cordon: Cordon
    #: The demand was counted since the lock was won.
    fresh: bool
    #: The call interval has passed.
    may_call: bool
    #: The platform is not to be called at all for now: it asked for that, or it failed.
    blocked: bool = False
    #: A fire to this quantity was sent and it is not known whether it was, or will be, done.
    unsettled: int | None = None
    #: A fire to this quantity was done just now, and the platform may not have stopped them yet.
    stopping: int | None = None
    #: A hire to this quantity was sent and it is not known whether it was, or will be, done. Done
    #: late, it would undo one to more, and stop workers that nobody has drained.
    ceiling: int | None = None
    #: The platform has refused lately to run more than this.
    limit: int | None = None
    drain_timeout: float | None = None


@dataclass(frozen=True)
class Decision:
    """What to do, and what must be known first to do more."""

    cordon: Cordon
    #: The quantity to set, None for no call.
    quantity: int | None = None
    #: Nothing can be fired before a fresh count is taken.
    wants_count: bool = False
    #: The platform may know of workers that are not heard of.
    wants_running: bool = False
    #: A change waits for the call interval.
    suppressed: bool = False
    #: Workers are being drained.
    draining: bool = False


def decide(situation: Situation) -> Decision:
    """Hire, fire, cordon or leave a pool alone.

    - Work for more workers: uncordon first, hire what is then missing. From zero at once.
    - Work for fewer: on a fresh count, cordon those that the platform stops first, and lower the
      quantity as far as the drained ones reach, and no further.
    - Whoever the platform may still be about to stop takes no tasks, whatever there is to do.
    """
    decision = _decide(situation)
    about_to_stop = situation.quantity if situation.fleet.doomed else None
    bounds = [
        b for b in (situation.stopping, about_to_stop, _undone_to(situation)) if b is not None
    ]
    if not bounds:
        return decision
    drawn = decision.cordon.above
    above = min(bounds if drawn is None else [drawn, *bounds])
    cordon = _redrawn(situation, above, decision.cordon.names)
    return replace(decision, cordon=cordon, draining=True)


def sent_before(situation: Situation) -> Cordon:
    """The cordon that nothing but what was sent before demands: it may still take effect."""
    bounds = [
        b for b in (situation.unsettled, situation.stopping, _undone_to(situation)) if b is not None
    ]
    return _redrawn(situation, min(bounds), frozenset()) if bounds else Cordon()


def _decide(situation: Situation) -> Decision:
    if situation.unsettled is not None:
        return _await_settlement(situation, situation.unsettled)
    if situation.needed >= situation.quantity:
        return _hire(situation)
    if situation.fleet.unordered:
        return _fire_unordered(situation)
    return _fire(situation)


def _undone_to(situation: Situation) -> int | None:
    """What a hire of unknown outcome leaves of workers that somebody hires by hand meanwhile."""
    if situation.ceiling is not None and situation.fleet.unordered:
        return 0 if situation.quantity > situation.ceiling else None
    return situation.ceiling


def _await_settlement(situation: Situation, floor: int) -> Decision:
    """The platform may still stop whoever is above *floor*: they must not take tasks again."""
    drawn = situation.cordon.above
    # Nobody else is cordoned before a fresh count says so; whoever is needed again is not.
    above = floor if drawn is None else min(max(situation.needed, drawn), floor)
    return Decision(_redrawn(situation, above, situation.cordon.names), draining=True)


def _hire(situation: Situation) -> Decision:
    # Whoever died at work without a successor is counted as working until the platform is asked.
    asks = situation.fleet.unknown((p.name for p in situation.fleet.living), situation.cordon)
    decision = Decision(Cordon(), wants_running=asks)
    if situation.needed == situation.quantity:
        return decision
    # Only the same again: after a hire of unknown outcome, one to fewer may be done last as well.
    target = situation.needed if situation.ceiling is None else situation.ceiling
    if situation.limit is not None and target > situation.limit:
        target = situation.limit if situation.ceiling is None else situation.quantity
    if target <= situation.quantity or not situation.minimum <= target <= situation.maximum:
        return replace(decision, suppressed=True)
    if situation.blocked or not (situation.may_call or situation.quantity == 0):
        return replace(decision, suppressed=True)
    return Decision(decision.cordon, quantity=target)


def _fire(situation: Situation) -> Decision:
    cordon = _redrawn(situation, situation.needed, frozenset())
    if not cordon.same_as(situation.cordon):
        return _confirmed(situation, Decision(cordon, draining=True))
    reach = situation.quantity
    while reach > situation.needed and _may_stop(situation, situation.fleet.name_of(reach), cordon):
        reach -= 1
    waits_for = [situation.fleet.name_of(n) for n in range(situation.needed + 1, reach + 1)]
    decision = Decision(
        cordon,
        draining=True,
        wants_running=situation.fleet.unknown(waits_for, cordon),
    )
    # Above the maximum (scaled by hand) we wait until one step leads back within the limits.
    if reach < situation.quantity and reach <= situation.maximum:
        return _called(situation, decision, reach)
    return decision


def _fire_unordered(situation: Situation) -> Decision:
    """The platform stops whom it likes, so nobody may run anything at that moment.

    Those not needed are cordoned at once; once nobody is seen to run anything, everybody is, and
    when all have confirmed it the quantity is lowered.
    """
    fleet, cordon = situation.fleet, situation.cordon
    asks = fleet.unknown((p.name for p in fleet.living), cordon)
    if fleet.busy() or situation.blocked or not (situation.may_call or cordon.above == 0):
        surplus = sorted(
            {p.name: p for p in fleet.living}.values(),
            key=lambda p: (p.name not in cordon.names, p.busy > 0, -p.since),
        )[: situation.quantity - situation.needed]
        cordon = _redrawn(situation, None, frozenset(p.name for p in surplus))
        return _confirmed(situation, Decision(cordon, draining=True, wants_running=asks))
    cordon = _redrawn(situation, 0, frozenset())
    decision = Decision(cordon, draining=True)
    if not cordon.same_as(situation.cordon) or not fleet.idle(cordon):
        return _confirmed(situation, decision)
    return _called(situation, decision, situation.needed)


def _redrawn(situation: Situation, above: int | None, names: frozenset[str]) -> Cordon:
    fleet = situation.fleet
    names_of_all = fleet.names(situation.quantity)
    return situation.cordon.redrawn(above, names, names_of_all, fleet.now, fleet.traits)


def _may_stop(situation: Situation, name: str, cordon: Cordon) -> bool:
    if situation.fleet.drained(name, cordon):
        return True
    since = cordon.since.get(name, situation.fleet.now)
    return (
        situation.drain_timeout is not None
        and situation.fleet.now - since >= situation.drain_timeout
    )


def _called(situation: Situation, decision: Decision, quantity: int) -> Decision:
    if not situation.may_call or situation.blocked:
        return replace(decision, suppressed=True)
    if not situation.fresh:
        return _count_first(situation)
    if situation.fleet.running is None:
        # Somebody may be up of whom nothing was ever heard.
        return replace(decision, wants_running=True)
    return replace(decision, quantity=quantity)


def _confirmed(situation: Situation, decision: Decision) -> Decision:
    """Neither cordoned nor fired on anything but a fresh count."""
    if situation.fresh or (decision.quantity is None and decision.cordon.same_as(situation.cordon)):
        return decision
    return _count_first(situation)


def _count_first(situation: Situation) -> Decision:
    return Decision(situation.cordon, wants_count=True, draining=bool(situation.cordon))
