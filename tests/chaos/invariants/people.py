"""What people ask for by hand: recorded once, kept while it lasts, and over when its time is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tests.chaos.journal import Event

from .requests import asked, writes
from .story import Story, Verdict, at_of, count_of, quantities_around

#: An evaluation that began before a pause was written may still act for this long (s).
KNOWN_AFTER = 13.0
#: A write may rest on a quantity that was read this long (s) before, and be tried again since.
RESTS_ON = 12.0
#: The history is recorded at most this long (s) after it was written.
SEEN_WITHIN = 1.0
#: Of so many pauses, one lasts long enough to be judged.
MANY = 8
#: After these, a Redis that stores nothing on disk has lost its data.
LOSSES = ("restart", "flush", "kill")


def requests_recorded(story: Story) -> Verdict:
    """Each request that was done is in the history once, and each that was not is not.

    One of unknown outcome may be there, once.
    """
    verdict = Verdict("each request by hand recorded once")
    entries = Counter(entry["by"].partition("@")[0] for entry in story.kinds["entry"])
    least, maxima = story.settings["minimum"], story.settings["maxima"]
    lost = 0
    for request in story.kinds["asked"]:
        found, outcome = entries[request["who"]], request["outcome"]
        told = f"{request['action']} by {request['who']} at {at_of(story, request)}, {outcome},"
        if outcome == "done" and found == 0 and _data_lost(story, request):
            lost += 1
        elif found not in {"done": (1,), "unknown": (0, 1)}.get(outcome, (0,)):
            verdict.broken.append(f"{told} is in the history {found} times")
        if outcome == "broken":
            verdict.broken.append(f"{told} ended with {request['said']}")
    for who, times in entries.items():
        if times > 1:
            verdict.broken.append(f"what {who} asked for is in the history {times} times")
    for entry in story.kinds["entry"]:
        if entry["to"] is not None and not least <= entry["to"] <= maxima.get(entry["pool"], 0):
            verdict.broken.append(f"{entry['by']} was granted {entry['to']} {entry['pool']}")
    if story.settings.get("people") and not any(
        request["outcome"] == "done" for request in story.kinds["asked"]
    ):
        verdict.broken.append("no request by hand was done")
    outcomes = Counter(f"{r['action']} {r['outcome']}" for r in story.kinds["asked"])
    verdict.figures = {
        "requests": dict(sorted(outcomes.items())),
        "by": count_of(story.kinds["asked"], "by"),
        "lost with the ledger": lost,
    }
    return verdict


def pauses_kept(story: Story) -> Verdict:
    """While hires were paused, no quantity was raised; while fires were, none was lowered.

    From when every evaluation knew of it, and as long as the ledger did. Of :data:`MANY` pauses, at
    least one must have lasted long enough to be judged.
    """
    verdict = Verdict("nothing hired or fired while paused")
    judged = 0
    spans = [*_pauses(story)]
    for request in story.kinds["request"]:
        within = [span for span in spans if span.begin <= request["at"] <= span.end]
        judged += bool(within) and request["method"] in ("PATCH", "POST")
        if request["method"] == "POST" and request["path"].endswith("/dynos"):
            verdict.broken += [
                f"{span} a dyno was hired at {at_of(story, request)}"
                for span in within
                if span.hires
            ]
    for write in writes(story):
        for span in spans:
            if span.begin <= write["at"] <= span.end:
                verdict.broken += [f"{span} {what}" for what in _changes(story, write, span)]
    paused = sum(r["action"] == "pause" and r["outcome"] == "done" for r in story.kinds["asked"])
    if paused >= MANY and not spans:
        verdict.broken.append(f"none of {paused} pauses lasted long enough to be judged")
    verdict.figures = {
        "pauses judged": len(spans),
        "their seconds": round(sum(span.end - span.begin for span in spans)),
        "writes meanwhile": judged,
    }
    return verdict


def asked_until(story: Story, before: float) -> float:
    """When the last request that keeps workers and was made before a time was over, at the latest.

    Such requests are hires and pauses of fires, if they were written or may have been. 0: none.
    """
    ends = [
        _ends(story, request)
        for request in story.kinds["asked"]
        if request["at"] < before and request.get("lasts") and _keeps_workers(request)
    ]
    return max(ends, default=0.0)


def _keeps_workers(request: Event) -> bool:
    keeps = request["action"] == "hire" or (request["action"] == "pause" and request["fires"])
    return keeps and request["outcome"] in ("done", "unknown")


@dataclass(frozen=True)
class _Span:
    """A time in which something is surely paused."""

    begin: float
    end: float
    hires: bool
    fires: bool
    who: str

    def __str__(self) -> str:
        which = [what for what in ("hires", "fires") if getattr(self, what)]
        return f"while {self.who} had paused {' and '.join(which)}"


def _pauses(story: Story) -> Iterator[_Span]:
    for request in story.kinds["asked"]:
        if request["action"] == "pause" and request["outcome"] == "done":
            begin, end = request["until"] + KNOWN_AFTER, _ends(story, request)
            if begin < end:
                yield _Span(begin, end, request["hires"], request["fires"], request["who"])


def _ends(story: Story, request: Event) -> float:
    """When a request ends: by itself, by `mm resume`, or since the ledger has lost it."""
    at = float(request["at"])
    ends = [at + request["lasts"] if request["lasts"] else story.kinds["quiet"][-1]["at"]]
    for other in story.kinds["asked"]:
        if other["action"] == "resume" and other["until"] >= at:
            ends.append(other["at"])
    for entry in story.kinds["entry"]:
        if entry["action"] == "resume" and entry["at"] >= at:
            ends.append(entry["at"] - SEEN_WITHIN)
    for fault in story.faults:
        forgets = fault["what"] == "ledger" and fault["sort"] in LOSSES
        if (forgets or fault["what"] == "clock") and fault["until"] >= at:
            ends.append(fault["at"])
    return min(ends)


def _changes(story: Story, write: Event, span: _Span) -> Iterator[str]:
    """Say what a write raises or lowers that is paused."""
    for pool, quantity in asked(write).items():
        there = quantities_around(story, pool, write["at"] - RESTS_ON, write["at"])
        told = f"{pool} was set to {quantity} at {at_of(story, write)}, from {sorted(there)}"
        if (span.hires and quantity > max(there)) or (span.fires and quantity < min(there)):
            yield told


def _data_lost(story: Story, request: Event) -> bool:
    begin, end = request["at"], request["until"] + SEEN_WITHIN
    return any(
        fault["what"] == "ledger"
        and fault["sort"] in LOSSES
        and fault["at"] <= end
        and fault["until"] >= begin
        for fault in story.faults
    )
