"""The ledger: a scaler that died is replaced, and there are few keys."""

from __future__ import annotations

from .story import Story, Verdict, at_of

REPLACED = 15.0  # s
#: Workers that may be in the ledger although they have gone, since it learns of that over time.
GHOSTS = 24
DUE_BUCKETS = 100
HISTORY = 1000
#: A week of samples.
MINUTES = 7 * 24 * 60
#: Days that the bill keeps, and one that has just begun.
BILL_DAYS = 63
#: Fields of each pool.
STATE = 36


def scaler_replaced(story: Story) -> Verdict:
    """A scaler that was killed while it held the lock soon had a successor."""
    verdict = Verdict(f"a killed scaler replaced within {REPLACED:.0f} s")
    apart = 0
    for replaced in story.kinds["replaced"]:
        if replaced["took"] is None or replaced["took"] > REPLACED:
            killed_at = replaced["killed_at"]
            if story.disturbed("line", killed_at, killed_at + REPLACED):
                apart += 1
                continue
            verdict.broken.append(
                f"the one killed at {at_of(story, replaced, 'killed_at')} after {replaced['took']}"
            )
    took = [round(r["took"], 1) for r in story.kinds["replaced"] if r["took"] is not None]
    verdict.figures = {
        "killed while holding the lock": len(story.kinds["replaced"]),
        "later, since those left may not have reached the ledger": apart,
        "seconds": took,
    }
    return verdict


def keys_bounded(story: Story) -> Verdict:
    """At the end Redis holds only our few keys, of bounded size, and each of them expires."""
    verdict = Verdict("keys in Redis bounded, and expire")
    state = 26 + STATE * len(story.settings["maxima"])
    most = {
        "due": DUE_BUCKETS,
        "actions": HISTORY,
        "samples": MINUTES,
        "tens": MINUTES // 10,
        "queues": 4,
        "lock": 1,
        "state": state,
        "bill": BILL_DAYS * len(story.settings["maxima"]),
    }
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
    verdict.figures = {
        k["name"].rpartition(":")[2]: k["size"]
        for k in ours
        if "{middle-management:myapp}" in k["name"]
    }
    return verdict
