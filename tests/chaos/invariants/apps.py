"""Other apps of the same processes, managed or not, do not affect ours."""

from __future__ import annotations

import math

from tests.chaos.journal import Event

from .requests import CALL_LASTS, UNANSWERED, asked, unanswered, writes
from .story import Story, Verdict, at_of, count_of


def others_apart(story: Story) -> Verdict:
    """Other apps' tasks hired none of our workers; the twin's as many as if they were ours.

    Or as many as a hire of unknown outcome had asked for: only that number is asked for again.
    """
    verdict = Verdict("several apps in a process stay apart")
    for probe in story.kinds["probe"]:
        needed = math.ceil(probe["tasks"] / story.settings["jobs_per_worker"])
        ours = _raised_to(story, probe)
        allowed = 0
        if probe["app"] == "twin":
            allowed = max(needed, story.settings["minimum"], *_unsettled(story, probe))
        told = f"at {at_of(story, probe, 'began')} {probe['tasks']} tasks of {probe['app']} hired"
        if ours > allowed:
            verdict.broken.append(f"{told} {ours} workers of ours")
        if probe["second"] != (needed if probe["app"] == "second" else 0):
            verdict.broken.append(f"{told} {probe['second']} workers of second")
    verdict.figures = count_of(story.kinds["probe"], "app")
    return verdict


def _unsettled(story: Story, probe: Event) -> list[int]:
    """The quantities that writes without a good answer may still set."""
    since = probe["began"] - UNANSWERED - 2 * CALL_LASTS
    sent = [w for w in writes(story) if unanswered(w) and since < w["at"] < probe["until"]]
    return [quantity for write in sent for quantity in asked(write).values()]


def _raised_to(story: Story, probe: Event) -> int:
    """The highest quantity that we raised any pool to during the probe."""
    raised = (
        int(change["after"])
        for change in story.kinds["change"]
        if change["by"] == "api"
        and change["after"] > change["before"]
        and probe["began"] <= change["at"] <= probe["until"]
    )
    return max(raised, default=0)
