"""The fate of the tasks: none killed by a fire, none lost, none run twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tests.chaos.journal import Event
from tests.chaos.tasks import Task

from .requests import writes
from .story import Story, Verdict, at_of, count_of

#: A worker that leaves shuts down within this time (s), and would cut short a task that it ran.
SHUTS_DOWN = 10.0


def nothing_killed(story: Story) -> Verdict:
    """No task that had begun on a dyno was cut short by a fire."""
    verdict = Verdict("no task killed by a fire")
    stops = story.kinds["stop"]
    fires = [stop for stop in stops if stop["reason"] == "scale"]
    for task in story.tasks.values():
        for begin in task.unended():
            stop = story.stop_of(begin)
            gone = story.gone.get(begin["sid"])
            if gone is not None and not story.was_killed(begin):
                if task.ended_by(begin, float(gone["at"]) - SHUTS_DOWN):
                    continue  # cut short by itself or by Celery, while the dyno went on working
                how = f"was stopped for {stop['reason']}" if stop else "left"
                verdict.broken.append(
                    f"task {task.id} began on {begin['dyno']} at {at_of(story, begin)}, which "
                    f"{how} and was gone at {at_of(story, gone)}"
                )
                continue
            if stop is None or task.ended_by(begin, float(stop["asked_at"])):
                continue
            if stop["reason"] == "scale" and not story.was_killed(begin):
                verdict.broken.append(
                    f"task {task.id} began on {begin['dyno']} at {at_of(story, begin)}, which was "
                    f"fired at {at_of(story, stop, 'asked_at')}{_order(story, stop)}"
                )
    verdict.figures = {
        "fires": len(fires),
        **_let_go(story),
        "fires ended by SIGKILL": sum(stop["sigkilled"] for stop in fires),
        "stops by hand or deploy": len(stops) - len(fires),
        "tasks killed": len(verdict.broken),
        **{f"killed {what}": n for what, n in count_of(story.kinds["killed"], "what").items()},
    }
    return verdict


def _let_go(story: Story) -> dict[str, int]:
    """Count the one-off dynos that ended without being stopped or killed."""
    if story.settings.get("dynos") != "one-off":
        return {}
    stopped = {stop["id"] for stop in story.kinds["stop"]}
    ended = [g for g in story.kinds["gone"] if g["id"] not in stopped]
    alive = [g for g in ended if g["pid"] and g["pid"] not in story.killed_workers]
    return {"let go": len(alive), "deploys": count_of(story.faults, "what").get("deploy", 0)}


def _order(story: Story, stop: Event) -> str:
    """Describe the write that led to a stop."""
    done = [w for w in writes(story) if w["done_at"] and w["done_at"] <= stop["asked_at"] + 0.05]
    if not done:
        return ""
    last = max(done, key=lambda write: float(write["done_at"]))
    return (
        f", by {last['body']} of {at_of(story, last)}, which {last['met'] or 'no fault'} met and "
        f"which was carried out at {at_of(story, last, 'done_at')}"
    )


def nothing_lost(story: Story) -> Verdict:
    """Every task that was surely published, and neither purged nor revoked, finished."""
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
    """Name the loss if Celery itself caused it."""
    published = task.published or {}
    if any(end["how"] == "aborted: Reject" for end in task.ended):
        return "lost by Celery: a retry while the broker was down"
    held = sorted((*task.received, *task.begun), key=lambda event: float(event["at"]))
    last_end = max(task.ended, key=lambda event: float(event["at"]), default=None)
    if last_end and last_end["how"] == "retry" and last_end["at"] >= held[-1]["at"]:
        return _retry_lost(story, task, float(last_end["at"]))
    if held:
        early = published.get("early") and _died(story, held[-1])
        return "acknowledged early, and its worker or child was ended" if early else None
    return _kombu_lost(story, task)


def _retry_lost(story: Story, task: Task, sent_at: float) -> str | None:
    """Name the loss of a retry that no worker received, if the broker was disturbed when sent."""
    if story.kinds["quiet"][-1]["undone"].get(task.id) != "nowhere":
        return None
    if story.disturbed("broker", sent_at - 1.0, sent_at + 1.0):
        return "lost by kombu: a retry sent or taken while the broker was restarted"
    return None


def _kombu_lost(story: Story, task: Task) -> str | None:
    """Name the loss of a task that no worker received, if kombu caused it."""
    if story.kinds["quiet"][-1]["undone"].get(task.id) != "nowhere":
        return None
    # kombu takes a message off its list first, and records it as taken a moment later.
    begin, end = _its_turn(story, task.published or {})
    if any(begin <= at <= end for at in story.killed_workers.values()):
        return "lost by kombu: taken by a worker that was killed at that moment"
    if story.disturbed("broker", begin, end):
        return "lost by kombu: taken while the broker was restarted"
    # A fire is no excuse: a drained worker asks the broker for nothing.
    unasked = [stop for stop in story.kinds["stop"] if stop["reason"] != "scale"]
    if any(stop["asked_at"] <= end and stop["at"] >= begin for stop in unasked):
        return "lost by kombu: taken by a worker that shut down for a deploy or by hand"
    return None


def _died(story: Story, event: Event) -> bool:
    """Return whether the monkey, a person or a deploy later ended its worker or child."""
    stop = story.stop_of(event)
    return story.was_killed(event) or (stop is not None and stop["reason"] != "scale")


def _its_turn(story: Story, published: Event) -> tuple[float, float]:
    """The time window in which a worker took a task: a queue is mostly first in, first out."""
    at = float(published["at"])
    taken = [
        (float(task.published["at"]), float(task.received[0]["at"]))
        for task in story.tasks.values()
        if task.received and task.published and task.published["queue"] == published["queue"]
    ]
    begin = max((received for when, received in taken if when < at - 0.5), default=at)
    end = min((received for when, received in taken if when > at + 0.5), default=float("inf"))
    return min(max(begin, at), end) - 1.0, max(begin, end) + 1.0


def _lost(story: Story, task: Task) -> str:
    published = task.published or {}
    return (
        f"task {task.id} ({published['what']}, {published['seconds']:.1f} s, eta "
        f"{published['eta']:.1f} s) published at {at_of(story, published)}: received "
        f"{_where(story, task.received)}, begun {_where(story, task.begun)}, ended "
        f"{[end['how'] for end in task.ended]}; in the broker: "
        f"{story.kinds['quiet'][-1]['undone'].get(task.id)}"
    )


def _where(story: Story, events: Iterable[Event]) -> list[str]:
    return [f"{event['dyno']} at {at_of(story, event)}" for event in events]


def nothing_twice(story: Story) -> Verdict:
    """No run began twice, except where a worker, a child or the broker was killed."""
    verdict = Verdict("no task ran twice without cause")
    causes: Counter[str] = Counter()
    for task in story.tasks.values():
        for first, second in task.repeated():
            cause = _cause(story, task, second)
            if cause is None:
                verdict.broken.append(
                    f"task {task.id} began on {first['dyno']} at {at_of(story, first)} and on "
                    f"{second['dyno']} at {at_of(story, second)}; received "
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
        # Heroku's SIGTERM also goes to the pool's children, and ends them.
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
    """Return whether Celery may have published it again because the broker did not answer."""
    sent = task.published
    return sent is not None and story.disturbed("broker", sent["at"], sent["at"] + sent["took"])
