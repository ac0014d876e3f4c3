"""The calls to the platform during an evaluation.

Before each call the changes so far are written and the lease is renewed, so that a stale evaluation
cannot act on an old reading.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from celery_middle_management.evaluation.accounts import Accounts
from celery_middle_management.evaluation.pool import PoolEvaluation
from celery_middle_management.evaluation.session import Session
from celery_middle_management.evaluation.troubles import UNHEARD, Troubles
from celery_middle_management.ledger.model import millis
from celery_middle_management.platforms.base import OneOff, PlatformError, Refused


class PlatformCalls:
    """Calls on behalf of *pools*. The evaluation asks `may_call` and `blocked` before it makes one.

    One evaluation may make several in a row; evaluations that make any are *interval* (s) apart.
    """

    def __init__(
        self,
        session: Session,
        pools: Sequence[PoolEvaluation],
        troubles: Troubles,
        interval: float,
        *,
        accounts: Accounts,
        forget_gone: Callable[[], None],
    ) -> None:
        self._session = session
        self._platform = session.ports.platform
        self._pools = pools
        self._troubles = troubles
        self._interval = interval
        self._accounts = accounts
        self._forget_gone = forget_gone
        self._called_before = session.snapshot.time("called_at")
        self._called_at = self._called_before
        self._blocked_until = session.snapshot.time("blocked_until")
        #: When the quantities were last read; 0 if they must be read again.
        self.read_at = session.snapshot.time("read_at")
        #: True if the platform has been called in this evaluation.
        self.called = False
        #: True if the quantities, and the lists of one-off workers, were read in this evaluation.
        self.fresh = False

    def may_call(self) -> bool:
        """Return whether the platform may be called for anything but a hire from zero."""
        if self._called_before == 0:
            # This is the first call ever, or Redis lost its data and the last call may have been
            # made just now.
            return self._called_at == 0
        return self._session.snapshot.now - self._called_before >= self._interval

    def blocked(self) -> bool:
        """Return whether the platform must not be called: it asked us to wait, or it failed."""
        return self._session.snapshot.now < self._blocked_until

    @property
    def callable_at(self) -> float:
        """When (ledger's time, s) the platform may be called again."""
        return max(self._called_at + self._interval, self._blocked_until)

    # -- questions

    def read_quantities(self) -> None:
        """Read the pools' quantities and the lists of their one-off workers."""
        self.begin()
        names = [each.pool.name for each in self._pools]
        try:
            quantities = self._platform.quantities(names, self._session.deadline)
        except PlatformError as error:
            self._record_failure(error)
            return
        for each in self._pools:
            each.record_quantity(quantities[each.pool.name])
            self._accounts.learn(each.pool.name, self._platform.sizes, self._session.time())
        if not self._read_listings():
            return
        self.fresh = True
        self.read_at = self._session.snapshot.now
        self._session.changes.set["read_at"] = str(millis(self.read_at))

    def _read_listings(self) -> bool:
        """Read the lists of one-off workers; return whether they are known now."""
        hires = {each: each.hires for each in self._pools if each.hires is not None}
        if self._platform.one_offs is None or not hires:
            return True
        names = [each.pool.name for each in hires]
        try:
            listings = self._platform.one_offs.listed(names, self._session.deadline)
        except PlatformError as error:
            self._record_failure(error)
            return False
        for each, its in hires.items():
            # The platform cannot tell apart process types that have the same command.
            name, presences = each.pool.name, self._session.snapshot.presences
            others = {p.name for p in presences if p.pool != name}
            for other in hires:
                if other is not each and other.one_offs is not None:
                    others |= other.one_offs.roster.names
            its.record_listing(listings[name], others)
        self._forget_gone()
        return True

    def ask_running(self) -> bool:
        """Ask the platform which workers are up; return whether it answered."""
        if self.blocked() or not self.may_call():
            return False
        self.begin()
        names = [each.pool.name for each in self._pools]
        try:
            running = self._platform.running(names, self._session.deadline)
        except PlatformError as error:
            self._record_failure(error)
            return False
        for each in self._pools:
            for name in each.record_running(running.get(each.pool.name, ())):
                self._session.ports.warn(f"unheard {name}", "%s is up, and %s", name, UNHEARD)
        self._forget_gone()
        return True

    # -- changes

    def scale(self, wanted: Mapping[PoolEvaluation, int]) -> None:
        """Set the quantities, or smaller ones where the platform turns out to have a limit."""
        while wanted:
            wanted = self._scale_once(wanted)

    def _scale_once(self, wanted: Mapping[PoolEvaluation, int]) -> dict[PoolEvaluation, int]:
        """Set quantities in one call, if possible; return what to ask for next."""
        # Fires come first: if the quantities are set one by one, what a fire frees can be hired
        # elsewhere.
        order = sorted(wanted, key=lambda each: not each.call.lowers_to(wanted[each]))
        for each in order:
            each.announce(wanted[each], self._session.time())
            self._accounts.announce(each.pool.name, wanted[each], self._session.time())
        self.begin()
        quantities = {each.pool.name: wanted[each] for each in order}
        outcomes: Mapping[str, int | PlatformError]
        try:
            outcomes = self._platform.scale(quantities, self._session.deadline)
        except PlatformError as error:
            outcomes = dict.fromkeys(quantities, error)
        self._mark_called()
        following = {}
        for each in order:
            name, asked = each.pool.name, wanted[each]
            quantity = each.call.record_answer(asked, outcomes[name], self._called_at)
            self._accounts.answer(name, outcomes[name], self._platform.sizes, self._called_at)
            if quantity is not None:
                following[each] = quantity
        failures = _failures(outcomes)
        if not failures:
            return following
        self._record_failure(failures[0])
        if not all(error.settled for error in failures):
            self._session.changes.set["read_at"] = "0"
        return {}

    def hire_one_offs(self) -> None:
        """Hire the one-off workers that were decided on."""
        decided = [each for each in self._pools if each.decision is not None]
        hiring = {e: e.hires for e in decided if e.hires is not None and e.hires.wanted}
        if self._platform.one_offs is None or not hiring or self.blocked():
            return
        at = self._session.time()
        ids = {each: its.announce(at) for each, its in hiring.items()}
        self.begin()
        outcomes: Mapping[str, OneOff | PlatformError]
        try:
            outcomes = self._platform.one_offs.hire(
                {each.pool.name: ids[each] for each in hiring}, self._session.deadline
            )
        except PlatformError as error:
            outcomes = dict.fromkeys((id for some in ids.values() for id in some), error)
        self._mark_called()
        for each, its in hiring.items():
            its.record_answers({id: outcomes[id] for id in ids[each]}, self._called_at)
        if failures := _failures(outcomes):
            self._record_failure(failures[0])

    def stop_hanging(self) -> None:
        """Stop one-off workers that were let go and have not ended."""
        platform = self._platform.one_offs
        for each in self._pools:
            for worker in each.one_offs.hanging if each.one_offs else ():
                if platform is None or self.blocked():
                    return
                self.begin()
                try:
                    platform.stop(worker, self._session.deadline)
                except PlatformError as error:
                    self._record_failure(error)

    # -- around each call

    def begin(self) -> None:
        """Write the changes, and renew the lease, before the platform is called."""
        self._troubles.tried("platform")
        self._mark_called()
        for each in self._pools:
            if each.one_offs is not None:
                # With what is charged for the workers that have turned out to exist.
                each.one_offs.write_roster()
        self._accounts.write(self._called_at)
        self._session.commit()

    def _mark_called(self) -> None:
        # Redis and the platform may have taken their time since the last mark.
        self.called = True
        self._called_at = self._session.time()
        self._session.changes.set["called_at"] = str(millis(self._called_at))

    def _record_failure(self, error: PlatformError) -> None:
        self._troubles.meet("platform", str(error))
        self.block(max(error.retry_after or 0.0, self._interval))

    def block(self, seconds: float) -> None:
        """Have the platform not called for this time (s)."""
        self._blocked_until = self._session.time() + seconds
        self._session.changes.set["blocked_until"] = str(millis(self._blocked_until))


def _failures(outcomes: Mapping[str, object]) -> list[PlatformError]:
    """Return the errors that mean trouble with the platform, not a refusal by it."""
    errors = [e for e in outcomes.values() if isinstance(e, PlatformError)]
    return [e for e in errors if not isinstance(e, Refused)]
