"""What to do about one pool: a pure function of what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.fleet import Fleet


@dataclass(frozen=True)
class View:
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


def decide(view: View) -> Decision:
    """Hire, fire, cordon or leave a pool alone.

    - Work for more workers: uncordon first, hire what is then missing. From zero at once.
    - Work for fewer: on a fresh count, cordon those that the platform stops first, and lower the
      quantity as far as the drained ones reach, and no further.
    - Whoever the platform may still be about to stop takes no tasks, whatever there is to do.
    """
    decision = _decide(view)
    about_to_stop = view.quantity if view.fleet.doomed else None
    bounds = [b for b in (view.stopping, about_to_stop, _undone_to(view)) if b is not None]
    if not bounds:
        return decision
    drawn = decision.cordon.above
    above = min(bounds if drawn is None else [drawn, *bounds])
    cordon = _redrawn(view, above, decision.cordon.names)
    return replace(decision, cordon=cordon, draining=True)


def _decide(view: View) -> Decision:
    if view.unsettled is not None:
        return _await_settlement(view, view.unsettled)
    if view.needed >= view.quantity:
        return _hire(view)
    if view.fleet.unordered:
        return _fire_unordered(view)
    return _fire(view)


def _undone_to(view: View) -> int | None:
    """What a hire of unknown outcome leaves of workers that somebody hires by hand meanwhile."""
    if view.ceiling is not None and view.fleet.unordered:
        return 0 if view.quantity > view.ceiling else None
    return view.ceiling


def _await_settlement(view: View, floor: int) -> Decision:
    """The platform may still stop whoever is above *floor*: they must not take tasks again."""
    drawn = view.cordon.above
    # Nobody else is cordoned before a fresh count says so; whoever is needed again is not.
    above = floor if drawn is None else min(max(view.needed, drawn), floor)
    return Decision(_redrawn(view, above, view.cordon.names), draining=True)


def _hire(view: View) -> Decision:
    # Whoever died at work without a successor is counted as working until the platform is asked.
    asks = view.fleet.unknown((p.name for p in view.fleet.living), view.cordon)
    decision = Decision(Cordon(), wants_running=asks)
    if view.needed == view.quantity:
        return decision
    # Only the same again: after a hire of unknown outcome, one to fewer may be done last as well.
    target = view.needed if view.ceiling is None else view.ceiling
    if view.limit is not None and target > view.limit:
        target = view.limit if view.ceiling is None else view.quantity
    if target <= view.quantity or not view.minimum <= target <= view.maximum:
        return replace(decision, suppressed=True)
    if view.blocked or not (view.may_call or view.quantity == 0):
        return replace(decision, suppressed=True)
    return Decision(decision.cordon, quantity=target)


def _fire(view: View) -> Decision:
    cordon = _redrawn(view, view.needed, frozenset())
    if not cordon.same_as(view.cordon):
        return _confirmed(view, Decision(cordon, draining=True))
    reach = view.quantity
    while reach > view.needed and _may_stop(view, f"{view.fleet.pool}.{reach}", cordon):
        reach -= 1
    waits_for = [f"{view.fleet.pool}.{n}" for n in range(view.needed + 1, reach + 1)]
    decision = Decision(
        cordon,
        draining=True,
        wants_running=view.fleet.unknown(waits_for, cordon),
    )
    # Above the maximum (scaled by hand) we wait until one step leads back within the limits.
    if reach < view.quantity and reach <= view.maximum:
        return _called(view, decision, reach)
    return decision


def _fire_unordered(view: View) -> Decision:
    """The platform stops whom it likes, so nobody may run anything at that moment.

    Those not needed are cordoned at once; once nobody is seen to run anything, everybody is, and
    when all have confirmed it the quantity is lowered.
    """
    fleet, cordon = view.fleet, view.cordon
    asks = fleet.unknown((p.name for p in fleet.living), cordon)
    if fleet.busy() or view.blocked or not (view.may_call or cordon.above == 0):
        surplus = sorted(
            {p.name: p for p in fleet.living}.values(),
            key=lambda p: (p.name not in cordon.names, p.busy > 0, -p.since),
        )[: view.quantity - view.needed]
        cordon = _redrawn(view, None, frozenset(p.name for p in surplus))
        return _confirmed(view, Decision(cordon, draining=True, wants_running=asks))
    cordon = _redrawn(view, 0, frozenset())
    decision = Decision(cordon, draining=True)
    if not cordon.same_as(view.cordon) or not fleet.idle(cordon):
        return _confirmed(view, decision)
    return _called(view, decision, view.needed)


def _redrawn(view: View, above: int | None, names: frozenset[str]) -> Cordon:
    return view.cordon.redrawn(above, names, view.fleet.names(view.quantity), view.fleet.now)


def _may_stop(view: View, name: str, cordon: Cordon) -> bool:
    if view.fleet.drained(name, cordon):
        return True
    since = cordon.since.get(name, view.fleet.now)
    return view.drain_timeout is not None and view.fleet.now - since >= view.drain_timeout


def _called(view: View, decision: Decision, quantity: int) -> Decision:
    if not view.may_call or view.blocked:
        return replace(decision, suppressed=True)
    if not view.fresh:
        return _count_first(view)
    if view.fleet.running is None:
        # Somebody may be up of whom nothing was ever heard.
        return replace(decision, wants_running=True)
    return replace(decision, quantity=quantity)


def _confirmed(view: View, decision: Decision) -> Decision:
    """Neither cordoned nor fired on anything but a fresh count."""
    if view.fresh or (decision.quantity is None and decision.cordon.same_as(view.cordon)):
        return decision
    return _count_first(view)


def _count_first(view: View) -> Decision:
    return Decision(view.cordon, wants_count=True, draining=bool(view.cordon))
