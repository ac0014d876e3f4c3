"""The accounts of an evaluation: whose worker time goes on the bill, and since when.

An account stays open while nothing changes; at a change its time is added to the bill, and it goes
on from there. Both are written in the same commit, so a process that dies leaves the account open.

- A change that the platform was told counts from when it was announced, once it is known that the
  platform has obeyed. Until then nothing is added.
- A change that is found by reading counts from the reading.
- A one-off worker counts from its hire, once it is known to exist, until it has been let go.
- If a release that keeps no accounts has evaluated, the time until now is left out.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from celery_middle_management.core.bill import KEPT_DAYS, Account, by_day, day_of
from celery_middle_management.core.roster import Roster
from celery_middle_management.evaluation.pool import PoolEvaluation
from celery_middle_management.ledger.accounts import billed, read_accounts, run_account
from celery_middle_management.ledger.model import Changes, Snapshot, millis
from celery_middle_management.platforms.base import PlatformError


class Accounts:
    """The accounts of all pools: one of each pool's formation, and one of its one-off workers."""

    def __init__(
        self, snapshot: Snapshot, changes: Changes, pools: Collection[PoolEvaluation]
    ) -> None:
        self._changes = changes
        self._offset = millis(snapshot.offset)
        self._snapshot = snapshot
        self._accounts = read_accounts(snapshot)
        self._changed = False
        self._pools = {each.pool.name: each for each in pools}
        self._rosters = {each.pool.name: each.state.roster for each in pools}
        self._since = snapshot.state.get("billed_since")
        now = millis(snapshot.now)
        if not billed(snapshot):
            self._restart(now)
        self._drop_others(now)

    # -- the formation

    def announce(self, pool: str, quantity: int, at: float) -> None:
        """Note that the platform is about to be told *quantity*."""
        if (account := self._accounts.get(pool)) is not None:
            self._go_on(pool, Account(millis(at), account.quantity, account.size, quantity))

    def answer(
        self, pool: str, outcome: object, sizes: Mapping[str, str] | None, at: float
    ) -> None:
        """Note what the platform has answered to the announced change."""
        if not isinstance(outcome, PlatformError):
            self.learn(pool, sizes, at)
        elif outcome.settled and (account := self._accounts.get(pool)) is not None:
            self._write(pool, account._replace(to=None))

    def learn(self, pool: str, sizes: Mapping[str, str] | None, at: float) -> None:
        """Note the quantity that the platform has reported, and the size of its workers."""
        quantity, account = self._pools[pool].state.formation, self._accounts.get(pool)
        if quantity is None:
            if account is not None:
                self._end(pool, account, millis(at))
            return
        before = account.size if account is not None else ""
        size = sizes.get(pool, before) if sizes is not None else ""
        if sizes is None or size:
            self._go_on(pool, Account(millis(at), quantity, size))

    # -- all

    def write(self, at: float) -> None:
        """Bring the accounts up to date, before a commit."""
        now = millis(at)
        for name, each in self._pools.items():
            self._count_one_offs(each, name, now)
        for name, account in list(self._accounts.items()):
            if account.due(now, self._offset):
                self._charge(name, account, now)
                self._write(name, account._replace(at=now))
        if self._changed:
            self._changes.set["accounts"] = json.dumps(self._accounts)
            self._changed = False

    def _count_one_offs(self, each: PoolEvaluation, pool: str, now: int) -> None:
        name, formation = run_account(pool), self._accounts.get(pool)
        account = self._accounts.get(name)
        if each.one_offs is None:
            # Those of an earlier run, if this is a dry run.
            paid = len({p.name for p in self._snapshot.presences_of(pool) if p.hire})
        else:
            paid = sum(
                bool(m.name) and not m.left_at for m in each.one_offs.roster.members.values()
            )
        known = formation or account
        if not (paid or account) or known is None:
            return
        size = (each.pool.dyno_size or "").lower() or known.size
        if each.one_offs is not None:
            self._charge_found(pool, size, each.one_offs.roster, now)
        if account is None or (account.quantity, account.size) != (paid, size):
            self._go_on(name, Account(now, paid, size))

    def _charge_found(self, pool: str, size: str, roster: Roster, now: int) -> None:
        """Add the time until now of workers that have turned out to exist since the last commit."""
        before, self._rosters[pool] = self._rosters[pool], roster
        for key, member in roster.members.items():
            announced = before.members.get(key)
            if member.name and announced is not None and not announced.name:
                self._add(pool, size, dict(by_day(millis(member.at), now, self._offset)))

    # -- one account

    def _go_on(self, name: str, after: Account) -> None:
        """If anything has changed, add the time until *after* begins to the bill."""
        before = self._accounts.get(name)
        if before is not None:
            if before._replace(at=0) == after._replace(at=0):
                return
            # If the platform has what it was told, it has had it since then.
            obeyed = before.to is not None and before.to == after.quantity
            self._charge(name, before, after.at, after.quantity if obeyed else None)
        self._write(name, after)

    def _end(self, name: str, account: Account, now: int) -> None:
        self._charge(name, account, now)
        del self._accounts[name]
        self._changed = True

    def _charge(self, name: str, account: Account, now: int, many: int | None = None) -> None:
        self._add(name.partition("/")[0], account.size, account.until(now, self._offset, many))
        if day_of(account.at, self._offset) != day_of(now, self._offset):
            self._changes.bill_days[:] = [KEPT_DAYS]

    def _add(self, pool: str, size: str, days: Mapping[str, int]) -> None:
        bill = self._changes.bill
        for day, worked in days.items():
            field = f"{pool}/{day}/{size}"
            bill[field] = bill.get(field, 0) + worked

    def _write(self, name: str, account: Account) -> None:
        if self._since is None:
            self._since = self._changes.set["billed_since"] = str(account.at)
        self._accounts[name] = account
        self._changed = True

    # -- what others did

    def _restart(self, now: int) -> None:
        """Begin every account now, with what the ledger says."""
        for name, account in list(self._accounts.items()):
            each = self._pools.get(name)
            quantity = each.state.formation if each is not None else None
            self._write(name, account._replace(at=now, quantity=quantity or 0, to=None))

    def _drop_others(self, now: int) -> None:
        """End the accounts of pools that are no longer in the settings."""
        for name, account in list(self._accounts.items()):
            if name.partition("/")[0] not in self._pools:
                self._end(name, account, now)
