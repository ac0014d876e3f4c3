"""One evaluation: read the ledger, decide for every pool, call the platform, write it down.

Only the holder of the lock evaluates. Whatever is about to be done is written before it is done,
in one step that fails if the lock has run out, so that a successor knows of it if we die.
"""

from __future__ import annotations

from collections.abc import Mapping

from celery_middle_management.brokers.base import CountFailed
from celery_middle_management.core.demand import Backlog
from celery_middle_management.core.presence import LivePresences, Presence, unacknowledged_in
from celery_middle_management.evaluation.agreement import agreed
from celery_middle_management.evaluation.deafness import Deafness
from celery_middle_management.evaluation.dry import DryPoolEvaluation
from celery_middle_management.evaluation.one_offs import cordon_dropped_pools
from celery_middle_management.evaluation.pool import DRAIN_INTERVAL, PoolEvaluation
from celery_middle_management.evaluation.ports import Ports
from celery_middle_management.evaluation.queues import leaves_out, unserved, used_and_idle
from celery_middle_management.evaluation.troubles import BROKER, UNHEARD, Troubles
from celery_middle_management.ledger.model import MOST_QUEUES, Changes, Lease, millis
from celery_middle_management.platforms.base import OneOff, PlatformError, Refused
from celery_middle_management.settings.model import Settings

#: The quantity is read again after this time (s), for somebody may have scaled by hand.
READ_INTERVAL = 60.0
#: A worker without a pool of ours is forgotten when it has been silent for this long (s).
FORGET_STRANGERS = 60.0


class Evaluation:
    """The course of one evaluation."""

    def __init__(self, lease: Lease, settings: Settings, ports: Ports) -> None:
        self._ports = ports
        self._settings = settings
        self._lease = lease
        self._changes = Changes()
        self._snapshot = ports.ledger.snapshot()
        self._read = ports.clock()
        self._now = self._snapshot.now
        self._called_at = self._snapshot.time("called_at")
        self._blocked_until = self._snapshot.time("blocked_until")
        self._read_at = self._snapshot.time("read_at")
        self._gone: set[str] = set()
        self._quantities_fresh = False
        self._troubles = Troubles(self._snapshot, self._changes, ports.warn)
        self._deafness = Deafness(self._snapshot, self._changes, ports.warn)
        started_at = self._now - (self._read - ports.born)
        self._pools = [
            (DryPoolEvaluation if settings.dry_run else PoolEvaluation)(
                pool
                if settings.dry_run
                else agreed(pool, started_at, self._snapshot, self._changes),
                *(settings, self._snapshot, self._changes),
                ports.queues,
                traits=ports.platform.traits,
                one_offs=ports.platform.one_offs is not None,
            )
            for pool in settings.pools
        ]

    def run(self) -> None:
        """Evaluate."""
        self._settle()
        self._forget()
        if self._reading_due():
            self._read_quantities()
            if any(each.lacks_workers for each in self._pools):
                self._ask_running()
        if self._deafness.stale or any(each.stale for each in self._pools):
            self._count()
        self._decide()
        while self._learn_more():
            self._decide()
        if any(each.change is not None for each in self._pools) and not self._quantities_fresh:
            # Somebody may have scaled by hand: what looks like a hire could stop his workers.
            self._read_quantities()
            self._decide()
        self._act()
        self._close()

    # -- what is known

    def _learn_more(self) -> bool:
        """Find out what the decisions want to know; returns whether anything was learned."""
        if any(each.worth_counting for each in self._pools):
            return self._count()
        wants_running = any(each.decision.wants_running for each in self._pools if each.decision)
        if wants_running and self._ask_running():
            return True
        if any(each.wants_list for each in self._pools) and not self._quantities_fresh:
            self._read_quantities()
            return self._quantities_fresh
        return False

    def _settle(self) -> None:
        unheard = [each.settle() for each in self._pools]
        if any(unheard):
            # Until it is read, a quantity is not known.
            self._read_at = 0.0
            self._changes.set["read_at"] = "0"

    def _forget(self) -> None:
        """Drop the presences of those surely gone."""
        gone = [p.id for each in self._pools for p in each.gone]
        ours = {each.pool.name for each in self._pools}
        if not self._settings.dry_run:
            self._changes.set.update(cordon_dropped_pools(self._snapshot, ours))
        gone += [
            p.id
            for p in self._snapshot.presences
            if p.pool not in ours and self._now - p.seen > FORGET_STRANGERS
        ]
        self._gone.update(gone)
        self._changes.gone += gone

    def _living(self) -> list[Presence]:
        return [p for p in self._snapshot.presences if p.id not in self._gone]

    def _count(self) -> bool:
        """Count every pool; returns whether any was counted.

        What cannot be counted is unknown, and nothing is fired on it.
        """
        living = self._living()
        self._troubles.tried("count")
        if any(leaves_out(each.pool, self._snapshot) for each in self._pools):
            self._troubles.meet(
                "count queues",
                f"more than {MOST_QUEUES} queues are in use: only the latest are counted. "
                "Have fewer, such as one for many users",
            )
        at = self._time()
        try:
            # As long as tasks lie in queues that no pool serves, those are remembered.
            others = unserved(self._settings, self._snapshot.queues)
            backlogs = self._ports.broker.backlogs(
                [*(q for each in self._pools for q in each.queues), *others],
                unacknowledged_in(living),
            )
        except CountFailed as error:
            self._troubles.meet("count", f"{error}; nothing is fired until it can be{BROKER}")
            for each in self._pools:
                each.count_failed = True
            return False
        read = {q: b for q, b in backlogs.items() if isinstance(b, Backlog)}
        unread = {q: b for q, b in backlogs.items() if isinstance(b, CountFailed)}
        for queue, failed in unread.items():
            if queue in others:
                continue
            self._troubles.meet(
                f"count queue {queue}",
                f"{failed}; no worker of its pool is fired until it can be{BROKER}",
            )
        leaving = [p for each in self._pools for p in each.leaving]
        live = LivePresences(living)
        for each in self._pools:
            each.count_failed = not unread.keys().isdisjoint(each.queues)
            if not each.count_failed:
                each.count(at, read, live.of(each.queues), leaving)
        self._deafness.counted(at, read, living)
        for each in self._pools:
            each.hear_of_deaf(self._deafness)
        used, idle = used_and_idle(self._snapshot, read, unread, living)
        self._changes.used_queues += used
        self._changes.idle_queues += idle
        return not all(each.count_failed for each in self._pools)

    def _decide(self) -> None:
        for each in self._pools:
            each.decide(may_call=self._may_call(), blocked=self._blocked())

    # -- calls of the platform

    def _may_call(self) -> bool:
        """Whether this evaluation may call the platform for anything but a hire from zero."""
        if self._snapshot.time("called_at") == 0:
            # The first ever, or Redis lost its data and the last call may have been just now.
            return self._called_at == 0
        return self._now - self._snapshot.time("called_at") >= self._settings.call_interval

    def _blocked(self) -> bool:
        return self._now < self._blocked_until

    def _reading_due(self) -> bool:
        """Whether the quantities are not known or may be out of date."""
        if self._blocked():
            return False
        if any(each.state.quantity is None and each.state.refusal is None for each in self._pools):
            return True
        # At 0 it was heard what became of the last change; else it may be any.
        believed = self._read_at > 0 and not self._any_hired()
        old = self._now - self._read_at >= READ_INTERVAL and not believed
        # Trouble with the platform is over when it answers.
        return self._may_call() and (
            old
            or "platform" in self._troubles
            or any(each.fleet.more_than_known() or each.list_due for each in self._pools)
        )

    def _any_hired(self) -> bool:
        """Whether there are workers; those that somebody hires by hand are heard of."""
        return any(each.state.quantity for each in self._pools)

    def _read_quantities(self) -> None:
        self._will_call()
        try:
            quantities = self._ports.platform.quantities(
                [each.pool.name for each in self._pools], self._lease.deadline
            )
        except PlatformError as error:
            self._failed(error)
            return
        for each in self._pools:
            each.learn(quantities[each.pool.name])
        if not self._list():
            return
        self._quantities_fresh = True
        self._read_at = self._now
        self._changes.set["read_at"] = str(millis(self._now))

    def _list(self) -> bool:
        """Learn who of those that are hired one by one is there; returns whether it is known."""
        pools = [each for each in self._pools if each.one_offs is not None]
        if self._ports.platform.one_offs is None or not pools:
            return True
        try:
            listings = self._ports.platform.one_offs.listed(
                [each.pool.name for each in pools], self._lease.deadline
            )
        except PlatformError as error:
            self._failed(error)
            return False
        for each in pools:
            # Process types may have the same command.
            others = {p.name for p in self._snapshot.presences if p.pool != each.pool.name}
            others |= {name for other in pools if other is not each for name in other.hired_names}
            each.learn_listed(listings[each.pool.name], others)
        self._forget()
        return True

    def _ask_running(self) -> bool:
        """Learn from the platform which workers are up; returns whether it has told."""
        if self._blocked() or not self._may_call():
            return False
        self._will_call()
        try:
            running = self._ports.platform.running(
                [each.pool.name for each in self._pools], self._lease.deadline
            )
        except PlatformError as error:
            self._failed(error)
            return False
        for each in self._pools:
            for name in each.learn_running(running.get(each.pool.name, ())):
                self._ports.warn(f"unheard {name}", "%s is up, and %s", name, UNHEARD)
        self._forget()
        return True

    def _act(self) -> None:
        """Write the decisions down, then carry out what they change, in one call if it can be."""
        for each in self._pools:
            each.write_decision()
        if self._settings.dry_run:
            return
        wanted = {each: each.change for each in self._pools if each.change is not None}
        while wanted:
            wanted = self._scale(wanted)
        self._hire_one_offs()
        self._stop_hanging()

    def _scale(self, wanted: Mapping[PoolEvaluation, int]) -> dict[PoolEvaluation, int]:
        """Set quantities; returns what to ask for instead where the platform has a limit."""
        # Fires first: where it has refused all, what they free can be hired elsewhere.
        order = sorted(wanted, key=lambda each: not each.lowers_to(wanted[each]))
        for each in order:
            each.announce(wanted[each], self._time())
        self._will_call()
        outcomes = self._outcomes({each.pool.name: wanted[each] for each in order})
        # Redis and the platform may have taken their time since it was written down.
        self._called_at = self._time()
        self._changes.set["called_at"] = str(millis(self._called_at))
        following = {}
        for each in order:
            quantity = each.answered(wanted[each], outcomes[each.pool.name], self._called_at)
            if quantity is not None:
                following[each] = quantity
        errors = [e for e in outcomes.values() if isinstance(e, PlatformError)]
        trouble = [e for e in errors if not isinstance(e, Refused)]
        if not trouble:
            return following
        self._failed(trouble[0])
        if not all(error.settled for error in trouble):
            self._changes.set["read_at"] = "0"
        return {}

    def _hire_one_offs(self) -> None:
        platform, at = self._ports.platform.one_offs, self._time()
        hiring = [each for each in self._pools if each.hires]
        if platform is None or not hiring or self._blocked():
            return
        ids = {each: each.announce_hires(at) for each in hiring}
        self._will_call()
        outcomes: Mapping[str, OneOff | PlatformError]
        try:
            outcomes = platform.hire(
                {each.pool.name: ids[each] for each in hiring}, self._lease.deadline
            )
        except PlatformError as error:
            outcomes = dict.fromkeys((one for some in ids.values() for one in some), error)
        self._called_at = self._time()
        self._changes.set["called_at"] = str(millis(self._called_at))
        for each in hiring:
            each.hired({one: outcomes[one] for one in ids[each]}, self._called_at)
        errors = [e for e in outcomes.values() if isinstance(e, PlatformError)]
        if trouble := [e for e in errors if not isinstance(e, Refused)]:
            self._failed(trouble[0])

    def _stop_hanging(self) -> None:
        """Stop those who hold nothing, and have not ended though they were let go."""
        platform = self._ports.platform.one_offs
        for each in self._pools:
            for worker in each.one_offs.hanging if each.one_offs else ():
                if platform is None or self._blocked():
                    return
                self._will_call()
                try:
                    platform.stop(worker, self._lease.deadline)
                except PlatformError as error:
                    self._failed(error)

    def _outcomes(self, quantities: Mapping[str, int]) -> Mapping[str, int | PlatformError]:
        try:
            return self._ports.platform.scale(quantities, self._lease.deadline)
        except PlatformError as error:
            return dict.fromkeys(quantities, error)

    def _will_call(self) -> None:
        """Write down, and renew the lock, before the platform is called."""
        self._troubles.tried("platform")
        self._called_at = self._time()
        self._changes.set["called_at"] = str(millis(self._called_at))
        self._commit()

    def _failed(self, error: PlatformError) -> None:
        self._troubles.meet("platform", str(error))
        wait = max(error.retry_after or 0.0, self._settings.call_interval)
        self._blocked_until = self._time() + wait
        self._changes.set["blocked_until"] = str(millis(self._blocked_until))

    def _commit(self, next_in: float | None = None) -> None:
        self._lease = self._ports.ledger.commit(
            self._lease, self._changes, self._snapshot.state.get("seq", "0"), next_in
        )
        self._changes.clear()

    def _close(self) -> None:
        for each in self._pools:
            for kind, trouble in each.trouble:
                full = self._ports.ledger.full if kind.startswith("unheard ") else ""
                self._troubles.meet(kind, f"{trouble.what}{full and '; '}{full}", trouble)
            if each.state.denied is not None:
                self._troubles.refused(each.pool.name, each.state.denied)
        self._troubles.tried("refused", "lifetime", "unheard")
        self._troubles.write(each.state for each in self._pools)
        self._changes.set["evaluated_at"] = str(millis(self._now))
        callable_at = max(self._called_at + self._settings.call_interval, self._blocked_until)
        waits = [self._deafness.wait]
        for each in self._pools:
            waits += each.waits(callable_at, blocked=self._blocked())
        if self._any_hired():
            waits.append(self._read_at + READ_INTERVAL - self._now)
        self._commit(next_in=max(min(waits), DRAIN_INTERVAL))

    def _time(self) -> float:
        """Redis' time now, from its last reading."""
        return self._now + self._ports.clock() - self._read
