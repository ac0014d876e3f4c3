"""What is wrong, since when, and what to do: of which ``mm status`` warns, and ends with 1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from celery_middle_management.core.fleet import BOOT_GRACE
from celery_middle_management.core.history import MINUTE, Sample
from celery_middle_management.core.pool_state import PoolState
from celery_middle_management.core.timing import LOCK_SECONDS, STAND_BY
from celery_middle_management.core.trouble import Trouble
from celery_middle_management.evaluation.deafness import DEAF
from celery_middle_management.evaluation.troubles import BROKER, UNHEARD
from celery_middle_management.ledger.codec import unpack_troubles
from celery_middle_management.ledger.model import Snapshot
from celery_middle_management.views.facts import Document, Facts, Told
from celery_middle_management.views.remedies import end_of, log_of
from celery_middle_management.views.untaken import UNSERVED, untaken
from celery_middle_management.views.words import counted, span

#: An evaluation that is late by this time (s) will not come by itself, and a process that has told
#: nothing for so long looks after nothing: whatever died in an evaluation has been replaced by
#: then, and what stands by has looked in.
OVERDUE = LOCK_SECONDS + 2 * STAND_BY
#: The kind of tasks that wait, and that nothing sees to.
UNATTENDED = "unattended"
_DEAD = (
    "nothing that evaluates is alive. Start any process of the app that publishes or works, or "
    "`{celery} mm run`"
)
_FAILING = (
    "processes of the app are alive, but they run off the platform, or their evaluations fail. "
    "See their log"
)
_IMPORT = (
    "import and enable celery_middle_management where tasks are published, or keep "
    "`{celery} mm run` alive"
)
_SILENT = (
    "worked, and is not heard of any more: it counts as at work and is not fired. Does it hang? "
    "See its log, {log}, and end it{end}"
)


def troubles_of(facts: Facts, pools: Sequence[Document]) -> Iterator[Told]:
    """Everything that is wrong; *pools* are those of the document."""
    recorded = unpack_troubles(facts.snapshot.state.get("trouble"))
    if facts.full:
        yield Told(None, facts.full, None, "full")
    for kind, error in facts.look.failed.items():
        if kind not in recorded:
            queue = kind.removeprefix("count queue ")
            whose = None if kind == "count" else facts.settings.pool_name(queue)
            what = f"{error}; what waits there is not known, and nothing is fired meanwhile{BROKER}"
            yield Told(whose, what, None, "count")
    yield from _recorded(facts, recorded)
    yield from _hire_failed(facts, recorded)
    yield from _not_done(facts, pools)
    yield from untaken(facts, pools)
    for pool in pools:
        yield from _of_workers(facts, pool)


def may_pass(document: Document) -> bool:
    """Whether what is wrong may be so for a moment only, until a publisher has told of its tasks:
    a second look shows.
    """
    kinds = (UNATTENDED, UNSERVED)
    return any(t["kind"] in kinds and not t["since"] for t in document["trouble"])


def _recorded(facts: Facts, recorded: Mapping[str, Trouble]) -> Iterator[Told]:
    """What evaluations met, and have met again whenever they tried."""
    local = facts.settings.platform == "local"
    for kind, trouble in recorded.items():
        state = facts.states.get(trouble.pool or "")
        refusal = state.last_refusal if state else None
        # Written when it was met last; what is needed may be less by now.
        enough = refusal and refusal.limit is not None and state and state.needed <= refusal.limit
        if kind.startswith("refused ") and enough:
            continue
        if kind.startswith("unheard ") and local:
            continue  # told below, with the log's path
        since = facts.snapshot.iso(trouble.since)
        yield Told(trouble.pool, trouble.what, since, kind.split()[0])


def _hire_failed(facts: Facts, recorded: Mapping[str, Trouble]) -> Iterator[Told]:
    """Pools whose workers have not been heard of since they were hired, recorded or not."""
    for name, state in facts.states.items():
        local = facts.settings.platform == "local"
        if state.unheard is None or not state.hire_failed:
            continue
        if f"unheard {name}" in recorded and not local:
            continue
        what = state.unheard.said(
            state.quantity or 0, log_of(facts, f"{name}.1" if local else name)
        )
        yield Told(name, what, facts.snapshot.iso(state.unheard.since), "unheard")


def _of_workers(facts: Facts, pool: Document) -> Iterator[Told]:
    """What is wrong with single workers."""
    workers, name = pool["workers"], pool["name"]
    for worker in workers["unheard"]:
        # Where none is heard of any more, that is told of the pool, once.
        if worker["for"] >= BOOT_GRACE and not facts.states[name].hire_failed:
            what = f"{worker['name']} is up, and {UNHEARD}"
            yield Told(name, what, worker["since"], "unheard")
    for worker in workers["wrong"]:
        yield Told(name, f"{worker['name']} {worker['what']}", worker["since"], "wrong")
    for worker in workers["silent"]:
        silent = _SILENT.format(
            log=log_of(facts, worker["name"]), end=end_of(facts, worker["name"])
        )
        yield Told(name, f"{worker['name']} {silent}", worker["since"], "silent")
    for worker in workers["deaf"]:
        what = f"{worker['name']} {DEAF}{end_of(facts, worker['name'])}"
        yield Told(name, what, worker["since"], "deaf")


def _not_done(facts: Facts, pools: Iterable[Document]) -> Iterator[Told]:
    """Tasks that wait for nothing, and changes that are due and are not made."""
    late, without_work = none_evaluates(facts.snapshot, facts.samples, facts.celery), []
    next_at = facts.snapshot.time("next_at")
    overdue = late and next_at and facts.snapshot.now - next_at > OVERDUE
    for pool in pools:
        if told := _not_hired(facts, pool):
            yield told
        elif late and pool["tasks"]["waiting"] and not _seen_to(facts, pool):
            yield _unattended(facts, pool, late)
        elif overdue and _changes(facts, pool):
            without_work.append(pool["name"])
    if without_work:
        what = f"an evaluation is due, which may change {', '.join(without_work)}, and none comes: "
        yield Told(None, what + late, facts.snapshot.iso(next_at), "evaluation")


def none_evaluates(snapshot: Snapshot, samples: Iterable[Sample], celery: str) -> str:
    """Why no evaluation comes that is due, and what to do; empty where one comes.

    *samples* are the ledger's history of the last minutes, *celery* is the app's command.
    """
    next_at, told_at = snapshot.time("next_at"), snapshot.time("told_at")
    if snapshot.now - told_at > OVERDUE:
        # Nothing has looked in for so long: nor will it when the next one is due.
        return _DEAD.format(celery=celery)
    if next_at and snapshot.now - next_at <= OVERDUE:
        return ""
    # What has been alive for so long has had the time to make it.
    before = snapshot.now - OVERDUE
    at_work = any(
        p.since <= before and not p.inactive and not p.silent(snapshot.now)
        for p in snapshot.presences
    )
    told = any(next_at <= sample.at <= before - MINUTE for sample in samples)
    return _FAILING if at_work or told else ""


def _changes(facts: Facts, pool: Document) -> bool:
    """Whether an evaluation would change something."""
    needed, current = facts.truth(pool["name"]).needed, pool["workers"]["current"] or 0
    return needed != current or _uncertain(facts.snapshot, pool)


def _seen_to(facts: Facts, pool: Document) -> bool:
    """Whether as many workers as are needed are there, and one takes what waits, or boots.

    That none of those hired is heard of is told when they have had their time.
    """
    now, queues = facts.snapshot.now, {*pool["queues"]}
    hired = facts.states[pool["name"]].unheard is not None
    served = any(
        not (p.silent(now) or queues.isdisjoint(p.queues)) for p in facts.snapshot.presences
    )
    return (served or hired) and not _changes(facts, pool)


def _unattended(facts: Facts, pool: Document, late: str) -> Told:
    """Tasks that wait, are due, or lie in the broker, and nothing hires for them."""
    snapshot, state = facts.snapshot, facts.states[pool["name"]]
    told_at, next_at = snapshot.time("told_at"), snapshot.time("next_at")
    waiting = pool["tasks"]["waiting"]
    known = max(state.outstanding - pool["tasks"]["running"], 0)
    what = _waits(waiting)
    if told_at or known:
        there = "that is heard of takes more" if pool["workers"]["current"] else "is hired"
        what += f", and no worker {there}: {late}"
    if waiting > known:
        of_them = f"{waiting - known} of them" if known else "it" if waiting == 1 else "them"
        what += f". No process has told of {of_them}: {_IMPORT.format(celery=facts.celery)}"
    due = min(_overdue(state), default=next_at if next_at <= snapshot.now else 0.0)
    since = max(due, told_at) if snapshot.now - told_at > OVERDUE else due
    return Told(pool["name"], what, snapshot.iso(since or None if known else None), UNATTENDED)


def _overdue(state: PoolState) -> list[int]:
    """When (Unix, s) scheduled tasks fell due that no evaluation has seen since."""
    return [bucket for bucket in state.buckets if bucket <= state.now]


def _waits(tasks: int) -> str:
    return counted(tasks, "task waits", "tasks wait")


def _not_hired(facts: Facts, pool: Document) -> Told | None:
    """Tasks that wait, though evaluations may come; None where something is done about them."""
    waiting, workers, snapshot = pool["tasks"]["waiting"], pool["workers"], facts.snapshot
    if not waiting or workers["current"]:
        return None
    state, mm = facts.states[pool["name"]], f"{facts.celery} mm"
    if not workers["max"]:
        why = (
            "no worker is hired: max_workers is 0. Raise middle_management_max_workers, or that of "
            "the pool in middle_management_pools"
        )
    elif state.pause and state.pause.hires:
        why = f"no worker is hired: hires are paused. When that is to end: `{mm} resume`"
    elif state.wish and state.wish.most == 0:
        left = span(state.wish.until - snapshot.now)
        why = (
            f"no worker is hired for another {left}: `mm fire` asked for that. When it is to "
            f"end: `{mm} resume`"
        )
    elif _uncertain(snapshot, pool):
        wait = max(snapshot.document(f"{pool['name']}/fire")["until"] - snapshot.now, 0.0)
        why = (
            f"no worker is hired for another {wait:.0f} s: the last fire got no answer, and may "
            "stop workers until then"
        )
    else:
        return None
    what = f"{_waits(waiting)}, and {why}"
    # Since when others wait is not known.
    since = snapshot.iso(min(_overdue(state), default=None))
    return Told(pool["name"], what, since, "not-hired")


def _uncertain(snapshot: Snapshot, pool: Document) -> bool:
    """Whether it is not known if the last fire was carried out."""
    fire = snapshot.document(f"{pool['name']}/fire")
    return bool(fire) and not fire.get("done")
