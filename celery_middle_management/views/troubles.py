"""What is wrong with an app, since when, and what to do.

If anything is wrong, ``mm status`` exits with 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from celery_middle_management.core.fleet import BOOT_GRACE
from celery_middle_management.core.trouble import Trouble
from celery_middle_management.evaluation.deafness import DEAF
from celery_middle_management.evaluation.troubles import BROKER, UNHEARD
from celery_middle_management.ledger.codec import unpack_troubles
from celery_middle_management.views.facts import Document, Facts, TroubleEntry
from celery_middle_management.views.remedies import end_of, log_of
from celery_middle_management.views.unattended import UNATTENDED, unattended
from celery_middle_management.views.untaken import UNSERVED, untaken

_SILENT = (
    "has stopped reporting. It is treated as busy and will not be fired. Check its log, {log}. If "
    "it hangs, end it{end}"
)


def troubles_of(facts: Facts, pools: Sequence[Document]) -> Iterator[TroubleEntry]:
    """Yield everything that is wrong; *pools* are those of the document."""
    recorded = unpack_troubles(facts.snapshot.state.get("trouble"))
    if facts.full:
        yield TroubleEntry(None, facts.full, None, "full")
    for kind, error in facts.look.failed.items():
        if kind not in recorded:
            queue = kind.removeprefix("count queue ")
            whose = None if kind == "count" else facts.settings.pool_name(queue)
            what = f"{error}; what waits there is unknown, so no worker is fired{BROKER}"
            yield TroubleEntry(whose, what, None, "count")
    yield from _recorded(facts, recorded)
    yield from _hire_failed(facts, recorded)
    yield from unattended(facts, pools)
    yield from untaken(facts, pools)
    for pool in pools:
        yield from _of_workers(facts, pool)


def may_pass(document: Document) -> bool:
    """Return True if some of the trouble may pass, as :func:`is_passing` says."""
    return any(map(is_passing, document["trouble"]))


def is_passing(trouble: Document) -> bool:
    """Return True if it may pass once a publisher has reported its latest tasks.

    A second look a moment later shows whether it has.
    """
    return trouble["kind"] in (UNATTENDED, UNSERVED) and not trouble["since"]


def _recorded(facts: Facts, recorded: Mapping[str, Trouble]) -> Iterator[TroubleEntry]:
    """Yield the troubles that evaluations have recorded, and met at every attempt since."""
    local = facts.settings.platform == "local"
    for kind, trouble in recorded.items():
        state = facts.states.get(trouble.pool or "")
        refusal = state.last_refusal if state else None
        # It was recorded at the last refusal; by now fewer workers may be needed.
        enough = refusal and refusal.limit is not None and state and state.needed <= refusal.limit
        if kind.startswith("refused ") and enough:
            continue
        if kind.startswith("unheard ") and local:
            continue  # reported by _hire_failed, with the path of the log
        since = facts.snapshot.iso(trouble.since)
        yield TroubleEntry(trouble.pool, trouble.what, since, kind.split()[0])


def _hire_failed(facts: Facts, recorded: Mapping[str, Trouble]) -> Iterator[TroubleEntry]:
    """Yield an entry for each pool whose hired workers do not report, if none is recorded."""
    for name, state in facts.states.items():
        local = facts.settings.platform == "local"
        if state.unheard is None or not state.hire_failed:
            continue
        if f"unheard {name}" in recorded and not local:
            continue
        what = state.unheard.said(
            state.quantity or 0, log_of(facts, f"{name}.1" if local else name)
        )
        yield TroubleEntry(name, what, facts.snapshot.iso(state.unheard.since), "unheard")


def _of_workers(facts: Facts, pool: Document) -> Iterator[TroubleEntry]:
    """Yield what is wrong with single workers."""
    workers, name = pool["workers"], pool["name"]
    for worker in workers["unheard"]:
        # If no worker of the pool reports, that is one trouble of the whole pool.
        if worker["for"] >= BOOT_GRACE and not facts.states[name].hire_failed:
            what = f"{worker['name']} is up, and {UNHEARD}"
            yield TroubleEntry(name, what, worker["since"], "unheard")
    for worker in workers["wrong"]:
        yield TroubleEntry(name, f"{worker['name']} {worker['what']}", worker["since"], "wrong")
    for worker in workers["silent"]:
        silent = _SILENT.format(
            log=log_of(facts, worker["name"]), end=end_of(facts, worker["name"])
        )
        yield TroubleEntry(name, f"{worker['name']} {silent}", worker["since"], "silent")
    for worker in workers["deaf"]:
        what = f"{worker['name']} {DEAF}{end_of(facts, worker['name'])}"
        yield TroubleEntry(name, what, worker["since"], "deaf")
