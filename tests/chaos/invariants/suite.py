"""Whether the suite itself worked."""

from __future__ import annotations

from .story import Story, Verdict, count_of


def suite_sound(story: Story) -> Verdict:
    """The suite did what it should, and the package was active under it."""
    verdict = Verdict("the suite itself worked")
    verdict.broken = [f"{event['act']}: {event['error']}" for event in story.kinds["broken"]]
    ours = [change for change in story.kinds["change"] if change["by"] == "api"]
    if story.settings.get("dynos") == "one-off":
        ours = [{"before": 0, "after": 1} for _ in story.kinds["dyno"]]
        ours += [{"before": 1, "after": 0} for _ in story.kinds["gone"]]
    if not any(change["after"] > change["before"] for change in ours):
        verdict.broken.append("no worker was hired")
    if not any(change["after"] < change["before"] for change in ours):
        verdict.broken.append("no worker was fired")
    verdict.figures = count_of(story.faults, "what")
    return verdict
