"""One evaluation: read the ledger, decide for every pool, call the platform, write the outcome.

Only the holder of the lock evaluates. Before an action is carried out, it is written down, so that
a successor knows of it if we die. This write fails if the lock has run out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf
from weakref import proxy

from celery_middle_management.brokers.base import CountFailed
from celery_middle_management.core.demand import Backlog
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.presence import LivePresences, Presence, unacknowledged_in
from celery_middle_management.evaluation.accounts import Accounts
from celery_middle_management.evaluation.agreement import agreed
from celery_middle_management.evaluation.deafness import Deafness
from celery_middle_management.evaluation.deploys import listing_due, outdated
from celery_middle_management.evaluation.dry import DryPoolEvaluation
from celery_middle_management.evaluation.one_offs import cordon_dropped_pools
from celery_middle_management.evaluation.platform_calls import PlatformCalls
from celery_middle_management.evaluation.pool import DRAIN_INTERVAL, PoolEvaluation
from celery_middle_management.evaluation.ports import Ports
from celery_middle_management.evaluation.prices import learn_prices
from celery_middle_management.evaluation.queues import leaves_out, unserved, used_and_idle
from celery_middle_management.evaluation.session import Session
from celery_middle_management.evaluation.troubles import BROKER, Troubles
from celery_middle_management.ledger.accounts import BILLED_AT, billed
from celery_middle_management.ledger.model import MOST_QUEUES, Lease, millis
from celery_middle_management.settings.model import Settings

#: The quantities are read again after this time (s): they may have been changed by hand.
READ_INTERVAL = 60.0
#: A worker that is in none of our pools is forgotten after this long (s) without a report.
FORGET_STRANGERS = 60.0


class Evaluation:
    """The course of one evaluation."""

    def __init__(self, lease: Lease, settings: Settings, ports: Ports) -> None:
        self._settings = settings
        self._session = session = Session(lease, ports)
        self._ports = ports
        self._snapshot, self._changes = session.snapshot, session.changes
        self._now = session.snapshot.now
        self._gone: set[str] = set()
        self._troubles = Troubles(session.snapshot, session.changes, ports.warn)
        self._deafness = Deafness(session.snapshot, session.changes, ports.warn)
        self._pools = [self._pool(pool) for pool in settings.pools]
        self._accounts = Accounts(session.snapshot, session.changes, self._pools)
        weak: Evaluation = proxy(self)  # A cycle would keep the snapshot until it is collected.
        self._calls = PlatformCalls(
            *(session, self._pools, self._troubles, settings.call_interval),
            accounts=self._accounts,
            forget_gone=lambda: weak.forget_gone(),  # noqa: PLW0108 - a bound method is not weak
        )

    def _pool(self, pool: Pool) -> PoolEvaluation:
        kind = DryPoolEvaluation if self._settings.dry_run else PoolEvaluation
        if not self._settings.dry_run:
            pool = agreed(pool, self._session.process_started_at, self._snapshot, self._changes)
        return kind(
            *(pool, self._settings, self._snapshot, self._changes, self._ports.queues),
            inform=self._ports.inform,
            traits=self._ports.platform.traits,
            one_offs=self._ports.platform.one_offs is not None,
            able_for=self._session.able_for,
        )

    @property
    def written(self) -> list[str]:
        """The entries of the history that the ledger has stored, packed."""
        return self._session.written

    def run(self) -> None:
        """Evaluate."""
        self._forget_settled_calls()
        self.forget_gone()
        if self._reading_due():
            self._calls.read_quantities()
            if any(each.lacks_workers for each in self._pools):
                self._calls.ask_running()
        if self._deafness.stale or any(each.stale for each in self._pools):
            self._count()
        self._decide()
        while self._learn_more():
            self._decide()
        if any(each.change is not None for each in self._pools) and not self._calls.fresh:
            # A quantity may have been raised by hand: what looks like a hire could stop workers.
            self._calls.read_quantities()
            self._decide()
        self._act()
        learn_prices(self._session, self._calls)
        self._close()

    # -- what is known

    def _forget_settled_calls(self) -> None:
        unknown = [each.forget_settled_calls() for each in self._pools]
        if any(unknown):
            # The quantity is not known until it is read.
            self._calls.read_at = 0.0
            self._changes.set["read_at"] = "0"

    def forget_gone(self) -> None:
        """Drop presences of workers whose process certainly no longer exists."""
        gone = [p.id for each in self._pools for p in each.gone]
        ours = {each.pool.name for each in self._pools}
        if not self._settings.dry_run and not outdated(self._session, self._pools):
            self._changes.set.update(cordon_dropped_pools(self._snapshot, ours))
        gone += [
            p.id
            for p in self._snapshot.presences
            if p.pool not in ours and self._now - p.seen > FORGET_STRANGERS
        ]
        self._gone.update(gone)
        self._changes.gone += gone

    def _reading_due(self) -> bool:
        """Return whether the quantities are unknown or may be out of date."""
        calls = self._calls
        if calls.blocked():
            return False
        if any(each.state.quantity is None and each.state.refusal is None for each in self._pools):
            return True
        # The quantity may have changed if there are workers, or a call's outcome is unknown.
        known = calls.read_at > 0 and not self._any_hired()
        old = self._now - calls.read_at >= READ_INTERVAL and not known
        # After trouble with the platform, an answer shows that the trouble is over.
        return calls.may_call() and (
            old
            or "platform" in self._troubles
            or any(each.fleet.more_than_known() for each in self._pools)
            or listing_due(self._session, self._pools)
        )

    def _any_hired(self) -> bool:
        """Return whether we know of workers; those hired by hand make themselves known."""
        return any(each.state.quantity for each in self._pools)

    def _learn_more(self) -> bool:
        """Get the information that the decisions want; return whether anything was learned."""
        if any(each.worth_counting for each in self._pools):
            return self._count()
        wants_running = any(each.decision.wants_running for each in self._pools if each.decision)
        if wants_running and self._calls.ask_running():
            return True
        wants_list = any(each.one_offs.choice.wants_list for each in self._pools if each.one_offs)
        if wants_list and not self._calls.fresh:
            self._calls.read_quantities()
            return self._calls.fresh
        return False

    # -- the count

    def _count(self) -> bool:
        """Count every pool; return whether any was counted.

        What cannot be counted is unknown, so it is no reason to fire a worker.
        """
        living = [p for p in self._snapshot.presences if p.id not in self._gone]
        at = self._session.time()
        backlogs = self._read_backlogs(living)
        if backlogs is None:
            for each in self._pools:
                each.count_failed = True
            return False
        read = {q: b for q, b in backlogs.items() if isinstance(b, Backlog)}
        unread = backlogs.keys() - read.keys()
        leaving = [p for each in self._pools for p in each.leaving]
        live = LivePresences(living)
        for each in self._pools:
            each.count_failed = not unread.isdisjoint(each.queues)
            if not each.count_failed:
                each.count(at, read, live.of(each.queues), leaving)
        self._deafness.counted(at, read, living)
        for each in self._pools:
            each.mark_deaf(self._deafness)
        used, idle = used_and_idle(self._snapshot, read, unread, living)
        self._changes.used_queues += used
        self._changes.idle_queues += idle
        return not all(each.count_failed for each in self._pools)

    def _read_backlogs(
        self, living: Iterable[Presence]
    ) -> Mapping[str, Backlog | CountFailed] | None:
        """Ask the broker about every queue; return None if it does not answer at all."""
        self._troubles.tried("count")
        if any(leaves_out(each.pool, self._snapshot) for each in self._pools):
            self._troubles.meet(
                "count queues",
                f"more than {MOST_QUEUES} queues are in use: only the latest are counted. "
                "Use fewer, such as one queue that many users share",
            )
        # A queue that no pool serves is remembered as long as tasks wait in it.
        others = unserved(self._settings, self._snapshot.queues)
        queues = [*(q for each in self._pools for q in each.queues), *others]
        try:
            backlogs = self._ports.broker.backlogs(queues, unacknowledged_in(living))
        except CountFailed as error:
            self._troubles.meet(
                "count", f"{error}; no worker is fired until it can be read{BROKER}"
            )
            return None
        for queue, backlog in backlogs.items():
            if isinstance(backlog, CountFailed) and queue not in others:
                self._troubles.meet(
                    f"count queue {queue}",
                    f"{backlog}; no worker of its pool is fired until it can be read{BROKER}",
                )
        return backlogs

    # -- decisions

    def _decide(self) -> None:
        may_call, blocked = self._calls.may_call(), self._calls.blocked()
        old = outdated(self._session, self._pools)
        for each in self._pools:
            each.decide(may_call=may_call, blocked=blocked, outdated=old)

    def _act(self) -> None:
        """Write the decisions down, then carry them out, in one call if possible."""
        for each in self._pools:
            if (each.pool.limits_until or inf) <= self._session.time():
                # Other limits have come into force meanwhile: leave it to the next evaluation.
                each.decision = None
            each.write_decision()
        if self._settings.dry_run:
            return
        self._calls.scale({e: e.change for e in self._pools if e.change is not None})
        self._calls.hire_one_offs()
        self._calls.stop_hanging()

    def _close(self) -> None:
        """Write down what is wrong, give up the lease, and say when to evaluate next."""
        # The first release to look for stuck pools is also the first to keep a bill.
        anew = not billed(self._snapshot)
        for each in self._pools:
            for kind, trouble in each.trouble:
                full = self._ports.ledger.full if kind.startswith("unheard ") else ""
                self._troubles.meet(kind, f"{trouble.what}{full and '; '}{full}", trouble)
            if each.state.denied is not None:
                self._troubles.refused(each.pool.name, each.state.denied)
            if not each.defers:
                each.state = each.writer.stuck(each.state, anew=anew)
        self._troubles.tried("refused", "lifetime", "unheard")
        self._troubles.write([each.state for each in self._pools])
        self._write_holding_back()
        self._changes.set["evaluated_at"] = str(millis(self._now))
        self._changes.set[BILLED_AT] = str(millis(self._now))
        self._accounts.write(self._session.time())
        waits = [self._deafness.wait]
        for each in self._pools:
            waits += each.waits(self._calls.callable_at, blocked=self._calls.blocked())
        if self._any_hired():
            waits.append(self._calls.read_at + READ_INTERVAL - self._now)
        self._session.commit(next_in=max(min(waits), DRAIN_INTERVAL))

    def _write_holding_back(self) -> None:
        """Write whether a hire is put off: then a process must not end before it is made."""
        if any(each.state.advice.holds_back for each in self._pools if not each.state.quantity):
            self._changes.set["holds_back"] = "1"
        else:
            self._changes.unset["holds_back"] = None
