"""Requests to the platform: within the limits, spaced, and back to the minimum."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

from tests.chaos.journal import Event

from .people import asked_until
from .requests import UNANSWERED, asked, calls, lateness, unanswered, writes
from .story import Story, Verdict, at_of, count_of

AT_MINIMUM = 90.0  # s
#: Calls may come this much (s) early, since the emulator sees each a moment after it was sent.
TOLERANCE = 0.15


def within_limits(story: Story) -> Verdict:
    """We never set or requested a quantity outside the limits."""
    verdict = Verdict("quantity within the limits")
    least, maxima = story.settings["minimum"], story.settings["maxima"]
    ours = [c for c in story.kinds["change"] if c["by"] == "api"]
    for change in ours:
        if not least <= change["after"] <= maxima[change["pool"]]:
            verdict.broken.append(
                f"{change['pool']} {change['before']} -> {change['after']} "
                f"at {at_of(story, change)}"
            )
    for request in writes(story):
        for pool, quantity in asked(request).items():
            if not least <= quantity <= maxima[pool]:
                verdict.broken.append(f"asked for {quantity} {pool} at {at_of(story, request)}")
    for crowd in story.kinds["crowd"]:
        if crowd["quantity"] > maxima[crowd["pool"]]:
            verdict.broken.append(
                f"{crowd['quantity']} {crowd['pool']} at {at_of(story, crowd)} by different hires"
            )
    by_hand = len(story.kinds["change"]) - len(ours)
    verdict.figures = {
        "limits": ", ".join(f"{pool} {least} to {most}" for pool, most in maxima.items()),
        "changes of ours": len(ours),
        "changes by hand": by_hand,
    }
    return verdict


def no_worker_stopped(story: Story) -> Verdict:
    """With one-off dynos, no request could stop a worker, except for a worker that hangs.

    That worker has reported that it holds nothing; whether a task was killed is judged elsewhere.
    """
    verdict = Verdict("no one-off worker told to stop")
    orders = [r for r in story.kinds["request"] if r["method"] != "GET"]
    kinds: Counter[str] = Counter()
    for order in orders if story.settings.get("dynos") == "one-off" else ():
        if order["method"] == "POST" and order["path"].endswith("/dynos"):
            kinds["hires"] += 1
        elif order["method"] == "POST" and re.search("/dynos/[^/]+/actions/stop$", order["path"]):
            kinds["stops of one that hangs"] += 1
        else:
            verdict.broken.append(f"{order['method']} {order['path']} at {at_of(story, order)}")
    verdict.figures = dict(kinds)
    return verdict


def calls_spaced(story: Story) -> Verdict:
    """Calls that change a quantity are a call interval apart, except for hires from zero.

    A call consists of several tries if the platform failed.
    """
    verdict = Verdict("one call in any call interval")
    interval = story.settings["call_interval"]
    made = calls(story)
    gaps, from_zero, stepped = [], 0, 0
    for before, after in pairwise(made):
        gap = after[0]["at"] - before[0]["at"]
        if gap >= interval - TOLERANCE:
            gaps.append(gap)
        elif not any(_quantity_before(story, p, after[0]["at"]) for p in asked(after[0])):
            from_zero += 1
        elif story.disturbed("clock", before[0]["at"], after[0]["at"]):
            stepped += 1
        else:
            gaps.append(gap)
            verdict.broken.append(
                f"{before[0]['body']} at {at_of(story, before[0])} and {after[0]['body']} "
                f"at {at_of(story, after[0])}, {gap:.2f} s apart"
            )
    requests = story.kinds["request"]
    verdict.figures = {
        "calls": len(made),
        "tries": len(writes(story)),
        "reads": len(requests) - len(writes(story)),
        "hires from zero within the interval": from_zero,
        "by a clock that was stepped": stepped,
        "shortest gap": round(min(gaps, default=0.0), 2),
        "answers": count_of(requests, "status"),
        "writes without a good answer": sum(unanswered(request) for request in writes(story)),
        "seconds until they were carried out": [
            round(lateness(request), 1) for request in writes(story) if lateness(request) > 1.0
        ],
    }
    return verdict


def _quantity_before(story: Story, pool: str, at: float) -> int:
    quantity = int(story.settings["minimum"]) if pool in story.settings["types"] else 0
    for change in story.kinds["change"]:
        if change["pool"] == pool and change["at"] < at:
            quantity = change["after"]
    return quantity


def back_at_minimum(story: Story) -> Verdict:
    """Every time the load stopped, the pool was at its minimum soon after the last task's end.

    Or, if that was later, soon after a write of unknown outcome could surely take effect no more,
    or after what a person had asked for was over.
    """
    verdict = Verdict(f"at the minimum within {AT_MINIMUM:.0f} s")
    took, put_off, by_hand = [], 0, 0
    for quiet in story.kinds["quiet"]:
        if quiet["reached"] is None:
            verdict.broken.append(f"not at all in the quiet phase at {at_of(story, quiet)}")
            continue
        settled = _settled(story, quiet)
        put_off += settled > quiet["last_end"]
        over = asked_until(story, quiet["at"])
        by_hand += over > max(quiet["last_end"], settled)
        took.append(max(quiet["reached"] - max(quiet["last_end"], settled, over), 0.0))
        if took[-1] > AT_MINIMUM:
            verdict.broken.append(f"{took[-1]:.1f} s in the one at {at_of(story, quiet)}")
    verdict.figures = {
        "quiet phases": len(story.kinds["quiet"]),
        "put off by writes without a good answer": put_off,
        "put off by people": by_hand,
        "seconds": [round(t, 1) for t in took],
    }
    return verdict


def _settled(story: Story, quiet: Event) -> float:
    """When the last write without a good answer, if any, could take effect no more."""
    sent = [r["at"] for r in writes(story) if unanswered(r) and r["at"] < quiet["at"]]
    return float(max(sent, default=0.0)) + UNANSWERED if sent else 0.0
