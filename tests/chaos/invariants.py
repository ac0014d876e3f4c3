"""The invariants: pure functions from the events of a journal to verdicts."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from .journal import Event
from .tasks import Task, by_id, of_kind

AT_MINIMUM = 90.0  # s
REPLACED = 15.0  # s
SLOWER = 0.050  # s
#: Sent no earlier than the call interval less this (s), seen by the emulator a moment later.
TOLERANCE = 0.15
#: The tries of one call end with its lease (s).
CALL_LASTS = 12.0
#: Workers that may be in the ledger though they have gone, for it learns of that by and by.
GHOSTS = 24
DUE_BUCKETS = 100
HISTORY = 100


@dataclass
class Verdict:
    """What became of one invariant: ``broken`` says where, and is empty when it held."""

    name: str
    broken: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def held(self) -> bool:
        return not self.broken


class Story:
    """A journal, sorted out."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.kinds = of_kind(events)
        self.tasks = by_id(events)
        self.settings = self.kinds["settings"][0]
        self.faults = self.kinds["fault"]
        self._windows = {
            what: _merged([(f["at"], f["until"]) for f in self.faults if f["what"] == what])
            for what in {f["what"] for f in self.faults}
        }
        #: Dynos that were stopped, by the process that led them.
        pids = {dyno["id"]: dyno["pid"] for dyno in self.kinds["dyno"]}
        self.stops = {
            (stop["name"], pids[stop["id"]]): stop
            for stop in self.kinds["stop"]
            if stop["id"] in pids
        }
        first = {p["pid"]: p["id"] for p in reversed(self.kinds["published"])}
        #: All but the first of each process.
        self.later_publishes = [p for p in self.kinds["published"] if p["id"] != first[p["pid"]]]
        killed = [event for event in self.kinds["killed"] if event["sid"] is not None]
        self.killed_workers = {e["sid"]: e["at"] for e in killed if e["what"] != "child"}
        self.killed_children = {e["pid"]: e["at"] for e in killed if e["what"] == "child"}

    def stop_of(self, event: Event) -> Event | None:
        """How the dyno that an event happened on was stopped, if it was."""
        return self.stops.get((event["dyno"], event["sid"]))

    def was_killed(self, event: Event) -> bool:
        """Whether the worker or the child that an event happened in was killed by the monkey."""
        at = float(event["at"])
        worker = float(self.killed_workers.get(event["sid"], 0.0))
        child = float(self.killed_children.get(event["pid"], 0.0))
        return max(worker, child) >= at - 0.1

    def disturbed(self, what: str, begin: float, end: float) -> bool:
        """Whether there was a fault of this sort between two times."""
        windows = self._windows.get(what, [])
        candidate = bisect_right(windows, (end, float("inf"))) - 1
        return candidate >= 0 and bool(windows[candidate][1] >= begin)


def _merged(windows: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same times in windows that do not overlap, in order."""
    merged: list[tuple[float, float]] = []
    for begin, end in sorted(windows):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def check(events: Sequence[Event]) -> list[Verdict]:
    """Judge a whole run."""
    story = Story(events)
    return [
        nothing_killed(story),
        nothing_lost(story),
        nothing_twice(story),
        within_limits(story),
        calls_spaced(story),
        back_at_minimum(story),
        nothing_raised(story),
        nothing_failed(story),
        never_slower(story),
        scaler_replaced(story),
        keys_bounded(story),
        suite_sound(story),
    ]


def nothing_killed(story: Story) -> Verdict:
    """No task that had begun on a dyno was cut short by a fire."""
    verdict = Verdict("no task killed by a fire")
    stops = story.kinds["stop"]
    fires = [stop for stop in stops if stop["reason"] == "scale"]
    for task in story.tasks.values():
        for begin in task.unended():
            stop = story.stop_of(begin)
            if stop is None or task.ended_by(begin, float(stop["asked_at"])):
                continue
            if stop["reason"] == "scale" and not story.was_killed(begin):
                verdict.broken.append(
                    f"task {task.id} began on {begin['dyno']} at {_at(story, begin)}, which was "
                    f"fired at {_at(story, stop, 'asked_at')}"
                )
    verdict.figures = {
        "fires": len(fires),
        "fires ended by SIGKILL": sum(stop["sigkilled"] for stop in fires),
        "stops by hand or deploy": len(stops) - len(fires),
        "tasks killed": len(verdict.broken),
        **{f"killed {what}": n for what, n in _count(story.kinds["killed"], "what").items()},
    }
    return verdict


def nothing_lost(story: Story) -> Verdict:
    """What was published for sure, and neither purged nor revoked, was finished."""
    verdict = Verdict("every published task finished")
    owed = [task for task in story.tasks.values() if task.owed]
    excused: Counter[str] = Counter()
    for task in owed:
        if not task.done:
            reason = _celery_lost(story, task)
            if reason:
                excused[reason] += 1
            else:
                verdict.broken.append(_lost(story, task))
    verdict.figures = {
        "published": len(owed),
        "purged": sum(task.purged for task in story.tasks.values()),
        "revoked": sum(task.revoked for task in story.tasks.values()),
        "not finished": len(verdict.broken),
        **excused,
    }
    return verdict


def _celery_lost(story: Story, task: Task) -> str | None:
    """The loss that Celery itself has to answer for, if it is one."""
    published = task.published or {}
    if any(end["how"] == "aborted: Reject" for end in task.ended):
        return "lost by Celery: a retry while the broker was down"
    held = sorted((*task.received, *task.begun), key=lambda event: float(event["at"]))
    if held:
        early = published.get("early") and _died(story, held[-1])
        return "acknowledged early, and its worker or child was ended" if early else None
    return _kombu_lost(story, task)


def _kombu_lost(story: Story, task: Task) -> str | None:
    """The loss of a task that no worker received, if kombu has to answer for it."""
    if story.kinds["quiet"][-1]["undone"].get(task.id) != "nowhere":
        return None
    # kombu takes a message off its list first and writes it down as taken a moment later.
    begin, end = _its_turn(story, task.published or {})
    if any(begin <= at <= end for at in story.killed_workers.values()):
        return "lost by kombu: taken by a worker that was killed at that moment"
    if story.disturbed("broker", begin, end):
        return "lost by kombu: taken while the broker was restarted"
    # A fire is no excuse: whoever is drained asks the broker for nothing.
    unasked = [stop for stop in story.kinds["stop"] if stop["reason"] != "scale"]
    if any(stop["asked_at"] <= end and stop["at"] >= begin for stop in unasked):
        return "lost by kombu: taken by a worker that shut down for a deploy or by hand"
    return None


def _died(story: Story, event: Event) -> bool:
    """Whether what it happened in was ended after it by the monkey, by hand or by a deploy."""
    stop = story.stop_of(event)
    return story.was_killed(event) or (stop is not None and stop["reason"] != "scale")


def _its_turn(story: Story, published: Event) -> tuple[float, float]:
    """Between which times a worker took a task: queues are first in, first out, by and large."""
    at = float(published["at"])
    taken = [
        (float(task.published["at"]), float(task.received[0]["at"]))
        for task in story.tasks.values()
        if task.received and task.published
    ]
    begin = max((received for when, received in taken if when < at - 0.5), default=at)
    end = min((received for when, received in taken if when > at + 0.5), default=float("inf"))
    return min(max(begin, at), end) - 1.0, max(begin, end) + 1.0


def _lost(story: Story, task: Task) -> str:
    published = task.published or {}
    return (
        f"task {task.id} ({published['what']}, {published['seconds']:.1f} s, eta "
        f"{published['eta']:.1f} s) published at {_at(story, published)}: received "
        f"{_where(story, task.received)}, begun {_where(story, task.begun)}, ended "
        f"{[end['how'] for end in task.ended]}; in the broker: "
        f"{story.kinds['quiet'][-1]['undone'].get(task.id)}"
    )


def _where(story: Story, events: Iterable[Event]) -> list[str]:
    return [f"{event['dyno']} at {_at(story, event)}" for event in events]


def nothing_twice(story: Story) -> Verdict:
    """No run began twice, but where a worker, a child or the broker was killed."""
    verdict = Verdict("no task ran twice without cause")
    causes: Counter[str] = Counter()
    for task in story.tasks.values():
        for first, second in task.repeated():
            cause = _cause(story, task, second)
            if cause is None:
                verdict.broken.append(
                    f"task {task.id} began on {first['dyno']} at {_at(story, first)} and on "
                    f"{second['dyno']} at {_at(story, second)}; received "
                    f"{_where(story, task.received)}"
                )
            else:
                causes[cause] += 1
    verdict.figures = {"without cause": len(verdict.broken), **causes}
    return verdict


def _cause(story: Story, task: Task, second: Event) -> str | None:
    seen = [e for e in (*task.received, *task.begun) if e["at"] < second["at"]]
    if any(story.was_killed(event) for event in seen):
        return "its worker or child was killed"
    cut_short = [stop for begin in task.unended() if (stop := story.stop_of(begin))]
    if any(stop["reason"] != "scale" and stop["asked_at"] < second["at"] for stop in cut_short):
        # Heroku's SIGTERM goes to the pool's children too, and ends them.
        return "its dyno was stopped by hand or a deploy"
    since = min(float(event["at"]) for event in seen)
    if story.disturbed("broker", since - 5.0, second["at"]) or _sent_twice(story, task):
        return "the broker was restarted or paused"
    timeout = story.settings["visibility_timeout"]
    if timeout and second["at"] - since >= timeout - 1.0:
        return "held for longer than the visibility timeout"
    if task.revoked:
        return "revoked"
    return None


def _sent_twice(story: Story, task: Task) -> bool:
    """Whether Celery may have published it again, for the broker did not answer."""
    sent = task.published
    return sent is not None and story.disturbed("broker", sent["at"], sent["at"] + sent["took"])


def within_limits(story: Story) -> Verdict:
    """We never set, nor asked for, a quantity out of the limits."""
    verdict = Verdict("quantity within the limits")
    least, maxima = story.settings["minimum"], story.settings["maxima"]
    ours = [c for c in story.kinds["change"] if c["by"] == "api"]
    for change in ours:
        if not least <= change["after"] <= maxima[change["pool"]]:
            verdict.broken.append(
                f"{change['pool']} {change['before']} -> {change['after']} at {_at(story, change)}"
            )
    for request in _patches(story):
        for pool, quantity in _asked(request).items():
            if not least <= quantity <= maxima[pool]:
                verdict.broken.append(f"asked for {quantity} {pool} at {_at(story, request)}")
    by_hand = len(story.kinds["change"]) - len(ours)
    verdict.figures = {
        "limits": ", ".join(f"{pool} {least} to {most}" for pool, most in maxima.items()),
        "changes of ours": len(ours),
        "changes by hand": by_hand,
    }
    return verdict


def calls_spaced(story: Story) -> Verdict:
    """Calls that change a quantity are the call interval apart, but for hires from zero.

    A call is made of several tries where the platform failed.
    """
    verdict = Verdict("one call in any call interval")
    interval = story.settings["call_interval"]
    calls = _calls(story)
    gaps, from_zero = [], 0
    for before, after in pairwise(calls):
        gap = after[0]["at"] - before[0]["at"]
        if gap >= interval - TOLERANCE:
            gaps.append(gap)
        elif not any(_quantity_before(story, p, after[0]["at"]) for p in _asked(after[0])):
            from_zero += 1
        else:
            gaps.append(gap)
            verdict.broken.append(
                f"{before[0]['body']} at {_at(story, before[0])} and {after[0]['body']} "
                f"at {_at(story, after[0])}, {gap:.2f} s apart"
            )
    requests = story.kinds["request"]
    verdict.figures = {
        "calls": len(calls),
        "tries": len(_patches(story)),
        "reads": len(requests) - len(_patches(story)),
        "hires from zero within the interval": from_zero,
        "shortest gap": round(min(gaps, default=0.0), 2),
        "answers": _count(requests, "status"),
    }
    return verdict


def _calls(story: Story) -> list[list[Event]]:
    """PATCH requests, the tries of one call together."""
    calls: list[list[Event]] = []
    for request in _patches(story):
        call = calls[-1] if calls else None
        if (
            call
            and call[0]["body"] == request["body"]
            and request["at"] - call[0]["at"] < CALL_LASTS
            and story.disturbed("api", call[-1]["at"] - 0.1, call[-1]["at"] + 0.1)
        ):
            call.append(request)
        else:
            calls.append([request])
    return calls


def _patches(story: Story) -> list[Event]:
    return [request for request in story.kinds["request"] if request["method"] == "PATCH"]


def _asked(request: Event) -> dict[str, int]:
    updates = json.loads(request["body"]).get("updates", [])
    return {str(update["type"]): int(update["quantity"]) for update in updates}


def _quantity_before(story: Story, pool: str, at: float) -> int:
    quantity = int(story.settings["minimum"])
    for change in story.kinds["change"]:
        if change["pool"] == pool and change["at"] < at:
            quantity = change["after"]
    return quantity


def back_at_minimum(story: Story) -> Verdict:
    """Every time the load stopped, the pool was at its minimum soon after the last task's end."""
    verdict = Verdict(f"at the minimum within {AT_MINIMUM:.0f} s")
    took = []
    for quiet in story.kinds["quiet"]:
        if quiet["took"] is None:
            verdict.broken.append(f"not at all in the quiet phase at {_at(story, quiet)}")
            continue
        took.append(quiet["took"])
        if quiet["took"] > AT_MINIMUM:
            verdict.broken.append(f"{quiet['took']:.1f} s in the one at {_at(story, quiet)}")
    verdict.figures = {
        "quiet phases": len(story.kinds["quiet"]),
        "seconds": [round(t, 1) for t in took],
    }
    return verdict


def nothing_raised(story: Story) -> Verdict:
    """No exception but Celery's own, with its broker down, reached a publisher."""
    verdict = Verdict("no exception of ours reached the app")
    celerys: Counter[str] = Counter()
    for raised in story.kinds["raised"]:
        brokers = raised["error"].startswith(("kombu.", "redis.", "amqp."))
        if raised["plain"] or (
            brokers and story.disturbed("broker", raised["at"] - 5.0, raised["until"])
        ):
            celerys["plain" if raised["plain"] else "with the package"] += 1
        else:
            verdict.broken.append(f"{raised['error']} at {_at(story, raised)}")
    verdict.figures = {f"broker down, {who}": n for who, n in celerys.items()}
    return verdict


def nothing_failed(story: Story) -> Verdict:
    """Nothing went wrong in our own code, were it caught or not."""
    verdict = Verdict("no error of ours in the logs")
    verdict.broken = [
        f"{failure['log']}: {failure['message']}: {_error(failure['trace'])}"
        for failure in story.kinds["failure"]
    ]
    return verdict


def _error(trace: list[str]) -> str:
    """The line of a traceback that names the error: the first that is not indented."""
    return next((line for line in trace[2:] if line and not line.startswith(" ")), "?")


def never_slower(story: Story) -> Verdict:
    """While the ledger or the platform was down, publishing cost no more than without us.

    The maximum of few publishes on a busy machine is chance: it is compared with the worst that
    plain Celery met at any time of the run. With the first one a process connects, and ours alone
    are killed and begin anew: it is left out of both.
    """
    verdict = Verdict("delay() as fast as plain Celery's")
    all_plain = _times(story, plain=True, trouble=None)
    for trouble in ("ledger", "api"):
        ours = _times(story, plain=False, trouble=trouble)
        plain = _times(story, plain=True, trouble=trouble)
        if not ours or not plain:
            continue
        for name, share in (("median", 0.5), ("p99", 0.99), ("max", 1.0)):
            mine, theirs = _quantile(ours, share), _quantile(plain, share)
            verdict.figures[f"{trouble} down, {name}"] = (
                f"{mine * 1000:.1f} ms, plain {theirs * 1000:.1f} ms"
            )
            allowed = max(theirs, *all_plain) if share == 1.0 else theirs
            if mine > allowed + SLOWER:
                verdict.broken.append(
                    f"{trouble} down: {name} {mine * 1000:.1f} ms, plain {allowed * 1000:.1f} ms"
                )
        verdict.figures[f"{trouble} down, publishes"] = f"{len(ours)}, plain {len(plain)}"
    return verdict


def _times(story: Story, plain: bool, trouble: str | None) -> list[float]:
    return [
        float(p["took"])
        for p in story.later_publishes
        if p["plain"] is plain
        and (trouble is None or story.disturbed(trouble, p["at"], p["at"] + p["took"]))
        and not story.disturbed("broker", p["at"] - 1.0, p["at"] + p["took"])
        and not (story.settings["shared"] and trouble == "ledger")
    ]


def _quantile(times: list[float], share: float) -> float:
    ordered = sorted(times)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def scaler_replaced(story: Story) -> Verdict:
    """A scaler killed with the lock in its hand had a successor soon."""
    verdict = Verdict(f"a killed scaler replaced within {REPLACED:.0f} s")
    for replaced in story.kinds["replaced"]:
        if replaced["took"] is None or replaced["took"] > REPLACED:
            verdict.broken.append(
                f"the one killed at {_at(story, replaced, 'killed_at')} after {replaced['took']}"
            )
    took = [round(r["took"], 1) for r in story.kinds["replaced"] if r["took"] is not None]
    verdict.figures = {
        "killed while holding the lock": len(story.kinds["replaced"]),
        "seconds": took,
    }
    return verdict


def keys_bounded(story: Story) -> Verdict:
    """At the end Redis holds our few keys, bounded, and every one expires."""
    verdict = Verdict("keys in Redis bounded, and expire")
    most = {"due": DUE_BUCKETS, "history": HISTORY, "queues": 4, "lock": 1, "state": 64}
    ours = [k for k in story.kinds["key"] if "middle" in k["name"]]
    for key in ours:
        name = key["name"].rpartition(":")[2]
        bound = {**most, "workers": key["live"] + GHOSTS}.get(name)
        if bound is None or not key["name"].startswith("{middle-management:"):
            verdict.broken.append(f"unknown key {key['name']}")
        elif key["size"] > bound:
            verdict.broken.append(f"{key['name']} has {key['size']} entries, more than {bound}")
        if key["ttl"] < 0:
            verdict.broken.append(f"{key['name']} never expires")
    if not story.settings["shared"]:
        verdict.broken += [f"a key not of ours: {k['name']}" for k in story.kinds["key"]
                           if k not in ours]  # fmt: skip
    verdict.figures = {k["name"].rpartition(":")[2]: k["size"] for k in ours}
    return verdict


def suite_sound(story: Story) -> Verdict:
    """The suite itself did what it was to do."""
    verdict = Verdict("the suite itself worked")
    verdict.broken = [f"{event['act']}: {event['error']}" for event in story.kinds["broken"]]
    verdict.figures = _count(story.faults, "what")
    return verdict


def _count(events: Iterable[Event], fact: str) -> dict[str, int]:
    return dict(sorted(Counter(str(event[fact]) for event in events).items()))


def _at(story: Story, event: Event, name: str = "at") -> str:
    """A time as seconds of the run."""
    return f"{event[name] - story.settings['at']:.1f} s" if event else "?"
