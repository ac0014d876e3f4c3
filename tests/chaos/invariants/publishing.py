"""What the app notices of us: no exceptions, no delay, no errors in its logs."""

from __future__ import annotations

from collections import Counter

from tests.chaos.journal import Event

from .story import Story, Verdict, at_of

SLOWER = 0.050  # s
#: How Celery tells a publisher that its broker cannot be reached, ...
UNREACHABLE = {
    *("kombu.exceptions.OperationalError", "amqp.exceptions.ConnectionForced"),
    *("amqp.exceptions.RecoverableConnectionError", "amqp.exceptions.UnexpectedFrame"),
    *("redis.exceptions.ConnectionError", "redis.exceptions.TimeoutError"),
    "redis.exceptions.BusyLoadingError",
}
#: ... and how kombu stumbles over a channel that another try of it has closed.
STUMBLES = "builtins.AttributeError: 'NoneType' object has no attribute "


def nothing_raised(story: Story) -> Verdict:
    """No exception reached a publisher, except Celery's own while its broker was down.

    Celery's own are known ones, and did not pass through our code.
    """
    verdict = Verdict("no exception of ours reached the app")
    celerys: Counter[str] = Counter()
    for raised in story.kinds["raised"]:
        down = story.disturbed("broker", raised["at"] - 5.0, raised["until"])
        if raised["plain"] or (down and _is_celerys(raised)):
            celerys["plain" if raised["plain"] else "with the package"] += 1
        else:
            verdict.broken.append(f"{raised['error']} at {at_of(story, raised)}")
    verdict.figures = {f"broker down, {who}": n for who, n in celerys.items()}
    return verdict


def _is_celerys(raised: Event) -> bool:
    """Return whether an exception is one of a broker that is down, and has no frame of ours.

    The function that puts an app's mark into its messages is in every trace, and raises nothing.
    """
    files = [line for line in raised["traceback"].splitlines() if 'File "' in line]
    if any("/celery_middle_management/" in file and not _passes_on(file) for file in files):
        return False
    stumbled = bool(files) and "/kombu/" in files[-1] and raised["error"].startswith(STUMBLES)
    return stumbled or raised["error"].partition(":")[0] in UNREACHABLE


def _passes_on(file: str) -> bool:
    return "/counting/marks.py" in file and file.endswith("in send_task_message")


def nothing_failed(story: Story) -> Verdict:
    """Nothing went wrong in our own code, whether it was caught or not."""
    verdict = Verdict("no error of ours in the logs")
    verdict.broken = [
        f"{failure['where']} at {at_of(story, failure)}: {failure['message']}: {failure['error']}"
        for failure in story.kinds["failure"]
    ]
    return verdict


def never_slower(story: Story) -> Verdict:
    """While the ledger or the platform was down, publishing cost no more than without us.

    The maximum of a few publishes on a busy machine is chance, so it is compared with the worst of
    plain Celery at any time of the run. Of fewer than a hundred, the last percentile is the
    maximum. The first moments of each process are left out on both sides: it connects and imports,
    and only our processes are killed and begin again.
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
            greatest = share * min(len(ours), len(plain)) > min(len(ours), len(plain)) - 1
            allowed = max(theirs, *all_plain) if greatest else theirs
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
