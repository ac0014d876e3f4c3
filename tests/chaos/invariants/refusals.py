"""What the platform refuses to one pool does not affect the others."""

from __future__ import annotations

from tests.chaos.journal import Event

from .requests import REFUSED, asked, writes
from .story import Story, Verdict, at_of

#: After a batch was refused, its valid parts are asked for again within this time (s).
ASKED_SINGLY = 10.0
#: A refused request is not repeated for a minute. So within this time (s) a pool is refused at most
#: this often: as part of the batch, then alone, and while the limit is searched for.
WINDOW = 55.0
MOST = 6
#: After these, a scaler may not know, may not be allowed to call, or may be dead.
EXCUSES = ("api", "late", "ledger", "clock", "broker")


def refusals_alone(story: Story) -> Verdict:
    """A refusal of one pool delayed no other pool, and was not provoked again all the time."""
    verdict = Verdict("a pool's refusal stays its own")
    refused = [request for request in writes(story) if request["status"] in REFUSED]
    judged = 0
    for request in refused:
        at_fault = _at_fault(story, request)
        innocent = asked(request).keys() - at_fault
        if at_fault and innocent and _calm(story, request["at"], request["at"] + ASKED_SINGLY):
            judged += 1
            verdict.broken += [
                f"{pool} was not asked for again after {request['body']} was refused at "
                f"{at_of(story, request)}"
                for pool in innocent
                if not _asked_again(story, request, pool)
            ]
    for pool in sorted({pool for request in refused for pool in _at_fault(story, request)}):
        verdict.broken += _too_often(story, pool, refused)
    verdict.figures = {"requests refused": len(refused), "batches judged": judged}
    return verdict


def _at_fault(story: Story, request: Event) -> set[str]:
    """The pools that a request was refused for."""
    at = float(request["at"])
    found = {pool for pool in asked(request) if pool not in story.settings["types"]}
    for fault in story.faults:
        if (
            fault["what"] in ("limit", "missing")
            and fault["at"] - 0.1 <= at <= fault["until"] + 0.1
        ):
            quantity = asked(request).get(fault["pool"], 0)
            if fault["pool"] is None:  # together they are too many
                found |= asked(request).keys()
            elif fault["what"] == "missing" or quantity > fault["most"]:
                found.add(fault["pool"])
    return found & asked(request).keys()


def _asked_again(story: Story, request: Event, pool: str) -> bool:
    at = float(request["at"])
    return any(
        at < later["at"] <= at + ASKED_SINGLY
        and pool in asked(later)
        and later["status"] not in REFUSED
        for later in writes(story)
    )


def _calm(story: Story, begin: float, end: float) -> bool:
    killed = any(begin - 1.0 <= event["at"] <= end for event in story.kinds["killed"])
    return not killed and not any(story.disturbed(what, begin - 1.0, end) for what in EXCUSES)


def _too_often(story: Story, pool: str, refused: list[Event]) -> list[str]:
    times = [r["at"] for r in refused if pool in _at_fault(story, r)]
    for begin, end in zip(times, times[MOST:], strict=False):
        forgotten = story.disturbed("ledger", begin - 5.0, end)
        if end - begin < WINDOW and not forgotten and not story.disturbed("clock", begin, end):
            at = at_of(story, {"at": begin})
            return [f"{pool} was refused {MOST + 1} times in the {end - begin:.1f} s from {at} on"]
    return []
