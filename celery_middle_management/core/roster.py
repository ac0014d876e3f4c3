"""The roster of a pool's one-off workers: those that were hired, are there, or have just left.

A hire may be carried out late, twice or never, and its answer may be lost. So a hired worker stays
on the roster until it surely does not exist: it does not report and is not in the platform's list.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import NamedTuple

from celery_middle_management.core.backoff import pause
from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.fleet import BOOT_GRACE
from celery_middle_management.core.presence import Presence
from celery_middle_management.core.timing import SILENT

#: The platform ends a one-off dyno at this age (s).
LIFETIME = 24 * 3600.0
#: It stops taking tasks this long (s) before that, or as long before as the longest task has taken,
#: if that is longer, ...
NOTICE = 3600.0
#: ... but never more than this long (s) before.
LONGEST_NOTICE = LIFETIME / 2
#: A worker that still has a task this long (s) before its end will most likely not finish it.
LAST_CALL = 300.0
#: While a worker does not report, the platform is asked at this interval (s) whether it exists.
ASKS_AFTER = 15.0
#: A worker is in the platform's list this long (s) after the answer to its hire, at the latest.
APPEARS = 10.0
#: If a worker that reported within this time (s) no longer has a presence, it has said goodbye.
#: While there are workers, an evaluation is made at least every :data:`ASKS_AFTER` seconds.
SAYS_GOODBYE = 2 * ASKS_AFTER
#: A worker that was let go and is still there after this time (s) hangs, and is stopped.
HANGS = 60.0
#: A worker that has reported for this long (s) has come up well.
WELL = 60.0
#: After this many hires in a row whose workers did not come up well, hiring pauses.
CRASHES = 3

#: The keys of workers whose hires the ledger has forgotten begin with this.
_FORGOTTEN = "forgotten/"


@dataclass(frozen=True)
class RosterEntry:
    """A one-off worker. Times are those of Redis (Unix, s)."""

    #: When it was hired, or first seen.
    at: float
    #: If it has not been seen by this time, it will not come.
    until: float = 0.0
    #: The platform's name for it, empty if the answer to its hire was lost.
    name: str = ""
    #: The release of the app that it was started with, 0 if unknown.
    release: int = 0
    #: It was in the platform's list.
    listed: bool = False
    #: When it first reported.
    since: float = 0.0
    #: When it last reported.
    seen: float = 0.0
    #: When it was found to have been let go or to have said goodbye. The platform may still list it
    #: for a while.
    left_at: float = 0.0

    def doubted_at(self, now: float) -> float | None:
        """Return when to begin to doubt that it exists or will come; None while it reports."""
        if self.left_at:
            return self.left_at + HANGS
        if self.since:
            return self.seen + ASKS_AFTER if now - self.seen > SILENT else None
        if not self.listed:
            return self.until
        # It is up and has not reported. After the grace period, the platform is not asked because
        # of it alone.
        return self.at + ASKS_AFTER if now - self.at < BOOT_GRACE else None

    def hangs(self, now: float) -> bool:
        """Return whether it was let go long ago."""
        return self.left_at > 0 and now - self.left_at >= HANGS

    @property
    def crashed(self) -> bool:
        """True if it did not come up well. Valid only if it is gone and was not let go.

        False if it never reported and the answer to its hire was lost: it counts as never hired.
        """
        return bool(self.name) and self.seen - self.since < WELL


@dataclass(frozen=True)
class Roster:
    """The one-off workers of a pool, by the id of the hire, or by name if the id is unknown."""

    members: Mapping[str, RosterEntry] = field(default_factory=dict)
    #: The newest known release of the app.
    newest: int = 0
    #: When the platform last listed its workers, 0 if it never did.
    listed_at: float = 0.0
    #: How many hires in a row have ended before their workers came up well.
    crashes: int = 0
    #: When the last of these hires was found to have ended.
    crashed_at: float = 0.0

    # -- what is known

    @property
    def names(self) -> frozenset[str]:
        """The known names of the workers."""
        return frozenset(m.name for m in self.members.values() if m.name)

    @property
    def most(self) -> float:
        """The largest number of workers allowed.

        After crashes: one, or the present number if greater, until a worker has come up well.
        """
        return max(len(self.members), 1) if self.crashing else inf

    @property
    def crashing(self) -> bool:
        """True if several hires in a row crashed, and no worker has come up well since."""
        return self.crashes >= CRASHES

    @property
    def unanswered_until(self) -> float | None:
        """When workers of unknown name can no longer come; None if there are none."""
        return max((m.until for m in self.members.values() if not m.name), default=None)

    @property
    def outdated(self) -> frozenset[str]:
        """The names of workers of an older release of the app, whose settings may be older too."""
        return frozenset(m.name for m in self.members.values() if 0 < m.release < self.newest)

    @property
    def renewed(self) -> bool:
        """True if a worker of the newest release is there, or was hired and may come."""
        outdated = self.outdated
        return any(not m.left_at and m.name not in outdated for m in self.members.values())

    def to_replace(self, now: float, longest: float = 0.0) -> frozenset[str]:
        """Return the names of workers that have an older release or are near their end.

        Workers that have left are not among them.

        *longest* is how long (s) a task can take, judging by the longest so far.
        """
        outdated = self.outdated
        old = LIFETIME - min(max(NOTICE, longest), LONGEST_NOTICE)
        return frozenset(
            m.name
            for m in self.members.values()
            if m.name and not m.left_at and (m.name in outdated or now - m.at > old)
        )

    def asks_at(self, now: float) -> float | None:
        """Return when to ask the platform for its list, None if every worker reports."""
        doubts = [at for m in self.members.values() if (at := m.doubted_at(now)) is not None]
        return max(min(doubts), self.listed_at + ASKS_AFTER) if doubts else None

    def asks_now(self, now: float) -> bool:
        """Return whether the platform should list its workers now."""
        asks_at = self.asks_at(now)
        return not self.listed_at or (asks_at is not None and now >= asks_at)

    # -- what changes it

    def with_hires(self, ids: Iterable[str], now: float, until: float) -> Roster:
        """Add hires that are about to be sent, and that can be carried out *until* a time."""
        new = {one: RosterEntry(now, until) for one in ids}
        return replace(self, members={**self.members, **new})

    def with_forgotten(self, count: int, now: float, until: float) -> Roster:
        """Add *count* workers about which nothing is known, not even the ids of their hires."""
        new = {f"{_FORGOTTEN}{n}": RosterEntry(now, until) for n in range(count)}
        return replace(self, members={**self.members, **new})

    def with_answer(self, key: str, name: str | None, until: float) -> Roster:
        """Record the answer to a hire: the worker's name, or None if it surely will not come."""
        members = dict(self.members)
        if name is None:
            del members[key]
        else:
            members[key] = replace(members[key], name=name, until=until)
        return replace(self, members=members)

    def with_reports(self, presences: Iterable[Presence], leave: Cordon, now: float) -> Roster:
        """Record what workers report; a worker whose presence is gone has said goodbye.

        If it had long been silent, it may still be at work. A worker counts as having left
        once *leave* has let all its processes go.
        """
        reports = by_name(presences)
        members = dict(self.members)
        keys = {member.name: key for key, member in members.items() if member.name}
        forgotten = [k for k, m in members.items() if k.startswith(_FORGOTTEN) and not m.name]
        for name, bearers in reports.items():
            key = keys.get(name, bearers[0].hire)
            # If a hire was carried out twice, the key is the other worker's.
            if key in members and members[key].name not in ("", name):
                key = name
            since, seen = min(p.since for p in bearers), max(p.seen for p in bearers)
            if key not in members and forgotten:
                del members[forgotten.pop()]
            before = members.get(key, RosterEntry(since or now))
            members[key] = replace(
                before,
                name=name,
                since=before.since or since,
                seen=max(before.seen, seen),
                left_at=before.left_at or now if all(let_go(p, leave) for p in bearers) else 0.0,
            )
        for key, member in members.items():
            vanished = member.since and member.name not in reports and not member.left_at
            if vanished and now - member.seen <= SAYS_GOODBYE:
                members[key] = replace(member, left_at=now)
        reporting = [m for m in members.values() if m.name in reports]
        well = any(m.seen - m.since >= WELL for m in reporting)
        # A worker that is let go has been at work, so it has not crashed.
        well = well or any(let_go(p, leave) for bearers in reports.values() for p in bearers)
        return replace(self, members=members, crashes=0 if well else self.crashes)

    def with_listing(
        self, releases: Mapping[str, int], awake: Collection[str], now: float
    ) -> RosterChange:
        """Record the platform's list: workers' names, and the releases they were started with.

        A worker that is *awake* has just reported, so it exists even if it is not listed.
        """
        members = dict(self.members)
        known = {member.name for member in members.values()}
        nameless = (key for key, member in members.items() if not member.name)
        unanswered = sorted(nameless, key=lambda key: members[key].at)
        for name in sorted(releases.keys() - known):
            # It comes from the hire: an older worker would have been in an earlier list.
            key = unanswered.pop(0) if unanswered else name
            members[key] = replace(members.get(key, RosterEntry(now)), name=name)
        ended: list[RosterEntry] = []
        for key, member in list(members.items()):
            if member.name in releases:
                release = releases[member.name]
                members[key] = replace(member, listed=True, release=release)
            elif member.name in awake and not member.left_at:
                continue
            elif member.since or member.listed or now >= member.until:
                ended.append(members.pop(key))
        return RosterChange(replace(self, members=members, listed_at=now), ended)

    def with_crashes(self, crashed: Iterable[RosterEntry], now: float) -> Roster:
        """Count workers that *crashed*; workers that were hired together count as one."""
        if all(member.at <= self.crashed_at for member in crashed):
            return self
        return replace(self, crashes=self.crashes + 1, crashed_at=now)


class RosterChange(NamedTuple):
    """A roster after the platform's list."""

    roster: Roster
    #: The workers that no longer exist.
    ended: list[RosterEntry]


def by_name(presences: Iterable[Presence]) -> dict[str, list[Presence]]:
    """Group presences by the name of the worker."""
    grouped: dict[str, list[Presence]] = {}
    for presence in presences:
        grouped.setdefault(presence.name, []).append(presence)
    return grouped


def crash_pause(crashes: int) -> float:
    """Return the pause (s) in hiring after this many crashed hires in a row; 0 after only a few."""
    return pause(crashes - CRASHES) if crashes >= CRASHES else 0.0


def let_go(presence: Presence, leave: Cordon) -> bool:
    """Return whether a worker with this presence may leave: it takes no tasks and has none.

    The reply to its report brings the cordon that lets it go. So every worker that the ledger's
    latest cordon lets go learns of it, and no other does.
    """
    stopped = leave.holds_since(presence.name, presence.stopped)
    return stopped and presence.busy == 0 and presence.returning == 0
