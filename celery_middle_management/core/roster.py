"""The one-off workers of a pool: who was hired, who is there, and who has gone.

A hire may be carried out late, twice or never, and its answer may be lost. So whoever was hired is
on the roster until he is surely not there: heard of no more and not in the platform's list.
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

#: A one-off dyno is ended by the platform at this age (s).
LIFETIME = 24 * 3600.0
#: It takes no more tasks so long (s) before that, or as long as tasks have taken, if that is more.
NOTICE = 3600.0
#: But not for longer (s).
LONGEST_NOTICE = LIFETIME / 2
#: Who has a task so shortly (s) before its end will most likely not finish it.
LAST_CALL = 300.0
#: While somebody is not heard of, the platform is asked this often (s) whether he is there.
ASKS_AFTER = 15.0
#: Whose hire was answered is listed by then (s).
APPEARS = 10.0
#: Who is not there any more, and was heard of within this time (s), has said goodbye. While anybody
#: is there, an evaluation is made every :data:`ASKS_AFTER` seconds at least.
SAYS_GOODBYE = 2 * ASKS_AFTER
#: Who was let go and is still there after this time (s) hangs, and is stopped.
HANGS = 60.0
#: Whoever has worked for this long (s) has come up well.
WELL = 60.0
#: So many in a row that have not, and there is a pause.
CRASHES = 3

#: The keys of those whose hires the ledger has forgotten begin so.
_FORGOTTEN = "forgotten/"


@dataclass(frozen=True)
class Hired:
    """A one-off worker. Times are Redis', Unix (s)."""

    #: When it was hired, or met.
    at: float
    #: Whoever has not been seen by then does not come.
    until: float = 0.0
    #: As the platform calls it; empty where nobody has heard the answer.
    name: str = ""
    #: The app's release that it was started with, 0 if that is not known.
    release: int = 0
    #: It was in the platform's list.
    listed: bool = False
    #: When it first told of itself, ...
    since: float = 0.0
    #: ... when it last did, ...
    seen: float = 0.0
    #: ... and when it was found to have been let go, or to have said goodbye. The platform may
    #: have it for a while yet.
    left_at: float = 0.0

    def doubted_at(self, now: float) -> float | None:
        """From when on it may be gone, or may never come; None while it is heard of."""
        if self.left_at:
            return self.left_at + HANGS
        if self.since:
            return self.seen + ASKS_AFTER if now - self.seen > SILENT else None
        if not self.listed:
            return self.until
        # It is up, and is asked for no more often than anybody else.
        return self.at + ASKS_AFTER if now - self.at < BOOT_GRACE else None

    def hangs(self, now: float) -> bool:
        """Whether it was let go long ago."""
        return self.left_at > 0 and now - self.left_at >= HANGS

    @property
    def crashed(self) -> bool:
        """Whether one that is gone, and was not told to go, had not come up well.

        One of which nothing was ever heard, not even the answer to its hire, never was.
        """
        return bool(self.name) and self.seen - self.since < WELL


@dataclass(frozen=True)
class Roster:
    """Everyone by the id of his hire, or by his name if that is not known."""

    members: Mapping[str, Hired] = field(default_factory=dict)
    #: The newest release of the app that is known.
    newest: int = 0
    #: When the platform last told who is there; 0 if it never did.
    listed_at: float = 0.0
    #: The workers of so many hires in a row have ended without having come up well, ...
    crashes: int = 0
    #: ... and when the last hire was found to have.
    crashed_at: float = 0.0

    def heard(self, presences: Iterable[Presence], leave: Cordon, now: float) -> Roster:
        """With what workers tell of themselves; one that is not there any more has said goodbye.

        Not so if it had fallen silent before: who cannot tell cannot say goodbye, and may be at
        work. One whose processes are all told to go by *leave* is as good as gone.
        """
        bearers: dict[str, list[Presence]] = {}
        for presence in presences:
            bearers.setdefault(presence.name, []).append(presence)
        members = dict(self.members)
        keys = {member.name: key for key, member in members.items() if member.name}
        forgotten = [k for k, m in members.items() if k.startswith(_FORGOTTEN) and not m.name]
        for name, told in bearers.items():
            key = keys.get(name, told[0].hire)
            # A hire that was carried out twice: the other has its place.
            if key in members and members[key].name not in ("", name):
                key = name
            since, seen = min(p.since for p in told), max(p.seen for p in told)
            if key not in members and forgotten:
                del members[forgotten.pop()]
            before = members.get(key, Hired(since))
            members[key] = replace(
                before,
                name=name,
                since=before.since or since,
                seen=max(before.seen, seen),
                left_at=before.left_at or now if all(let_go(p, leave) for p in told) else 0.0,
            )
        for key, member in members.items():
            vanished = member.since and member.name not in bearers and not member.left_at
            if vanished and now - member.seen <= SAYS_GOODBYE:
                members[key] = replace(member, left_at=now)
        there = [m for m in members.values() if m.name in bearers]
        well = any(m.seen - m.since >= WELL for m in there)
        # One that is let go has been at work and does not crash.
        well = well or any(let_go(p, leave) for told in bearers.values() for p in told)
        return replace(self, members=members, crashes=0 if well else self.crashes)

    def listed(self, releases: Mapping[str, int], awake: Collection[str], now: float) -> Listed:
        """With what the platform lists: names, and the releases that they were started with.

        Whoever is *awake* was heard of just now, whatever is listed.
        """
        members = dict(self.members)
        known = {member.name for member in members.values()}
        nameless = (key for key, member in members.items() if not member.name)
        unanswered = sorted(nameless, key=lambda key: members[key].at)
        for name in sorted(releases.keys() - known):
            # Whoever was there before the hire was listed before it.
            key = unanswered.pop(0) if unanswered else name
            members[key] = replace(members.get(key, Hired(now)), name=name)
        ended: list[Hired] = []
        for key, member in list(members.items()):
            if member.name in releases:
                release = releases[member.name]
                members[key] = replace(member, listed=True, release=release)
            elif member.name in awake and not member.left_at:
                continue
            elif member.since or member.listed or now >= member.until:
                ended.append(members.pop(key))
        return Listed(replace(self, members=members, listed_at=now), ended)

    def after_crashes(self, crashed: Iterable[Hired], now: float) -> Roster:
        """With these that *crashed*: those that were hired together count as one."""
        if all(member.at <= self.crashed_at for member in crashed):
            return self
        return replace(self, crashes=self.crashes + 1, crashed_at=now)

    @property
    def most(self) -> float:
        """So many there may be: after crashes one, or as many as there are, until one is well."""
        return max(len(self.members), 1) if self.crashes >= CRASHES else inf

    def hired(self, ids: Iterable[str], now: float, until: float) -> Roster:
        """With hires that are about to be sent, and may be carried out until then."""
        new = {one: Hired(now, until) for one in ids}
        return replace(self, members={**self.members, **new})

    def expecting(self, count: int, now: float, until: float) -> Roster:
        """With so many of whom nothing is known, not even the ids of their hires."""
        new = {f"{_FORGOTTEN}{n}": Hired(now, until) for n in range(count)}
        return replace(self, members={**self.members, **new})

    def answered(self, key: str, name: str | None, until: float) -> Roster:
        """With what became of a hire: its name, or None if it will surely not come."""
        members = dict(self.members)
        if name is None:
            del members[key]
        else:
            members[key] = replace(members[key], name=name, until=until)
        return replace(self, members=members)

    @property
    def unanswered_until(self) -> float | None:
        """Until when somebody may come whose name nobody has heard; None where there is nobody."""
        return max((m.until for m in self.members.values() if not m.name), default=None)

    def retired(self, now: float, longest: float = 0.0) -> frozenset[str]:
        """The names of those who are to be replaced: of an older release, or near their end.

        A task may take as long (s) as the *longest* has.
        """
        old = LIFETIME - min(max(NOTICE, longest), LONGEST_NOTICE)
        return frozenset(
            m.name
            for m in self.members.values()
            if m.name and (0 < m.release < self.newest or now - m.at > old)
        )

    def asks_at(self, now: float) -> float | None:
        """When the platform is to be asked who is there, for somebody is not heard of."""
        doubts = [at for m in self.members.values() if (at := m.doubted_at(now)) is not None]
        return max(min(doubts), self.listed_at + ASKS_AFTER) if doubts else None


class Listed(NamedTuple):
    """What a list of the platform's makes of a roster."""

    roster: Roster
    #: Those who are there no more.
    ended: list[Hired]


def crash_pause(crashes: int) -> float:
    """How long (s) none is hired after so many hires in a row that crashed; 0 for a few."""
    return pause(crashes - CRASHES) if crashes >= CRASHES else 0.0


def let_go(presence: Presence, leave: Cordon) -> bool:
    """Whether a worker that says this is told to leave: it takes no tasks and has none.

    The answer to its own report has the cordon by which it goes. So whoever is let go by the
    ledger's latest is told so, and nobody else is.
    """
    obeys = leave.holds_since(presence.name, presence.stopped)
    return obeys and presence.busy == 0 and presence.returning == 0
