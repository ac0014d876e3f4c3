"""What the suite itself did."""

from __future__ import annotations

from .story import Story, Verdict, count_of


def suite_sound(story: Story) -> Verdict:
    """The suite itself did what it was to do."""
    verdict = Verdict("the suite itself worked")
    verdict.broken = [f"{event['act']}: {event['error']}" for event in story.kinds["broken"]]
    verdict.figures = count_of(story.faults, "what")
    return verdict
