"""No record is lost or doubled, in whatever order it is added, drained, taken and given back."""

from __future__ import annotations

import os
from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from celery_middle_management.core.batch import FINISHED, PUBLISHED, Batch
from celery_middle_management.counting.tally import Tally

queues = st.sampled_from(["celery", "pdf", "žluťoučký"])


class TallyMachine(RuleBasedStateMachine):
    """A worker and a child of it that record, and batches that are flushed or kept."""

    def __init__(self) -> None:
        super().__init__()
        self.worker = Tally()
        self.worker.share_with_children()
        self.child = Tally()
        self.child._pipe = self.worker._pipe  # what a fork leaves a child with
        self.child.after_fork()
        self.told: Counter[tuple[str, str]] = Counter()
        self.flushed: Counter[tuple[str, str]] = Counter()
        self.runtime = self.flushed_runtime = 0.0
        self.batch = Batch()

    def teardown(self) -> None:
        assert self.worker._pipe is not None
        read, write = self.worker._pipe
        read.close()
        os.close(write)

    @rule(in_child=st.booleans(), queue=queues, due=st.just(0.0) | st.integers(1, 9).map(float))
    def publish(self, in_child: bool, queue: str, due: float) -> None:
        (self.child if in_child else self.worker).add(PUBLISHED, queue, due)
        self.told["scheduled" if due else "published", queue] += 1

    @rule(in_child=st.booleans(), queue=queues, runtime=st.integers(0, 9).map(float))
    def finish(self, in_child: bool, queue: str, runtime: float) -> None:
        (self.child if in_child else self.worker).add(FINISHED, queue, runtime)
        self.told["finished", queue] += 1
        self.runtime += runtime

    @rule()
    def drain(self) -> None:
        self.worker.drain(self.batch)
        self.child.drain(self.batch)
        assert self.flushed + totals(self.batch) == self.told
        assert self.flushed_runtime + runtime(self.batch) == self.runtime

    @rule(most=st.integers(0, 3))
    def fail_to_flush(self, most: int) -> None:
        before = totals(self.batch)
        part = self.batch.take(most)
        slots = [*part.published.values(), *part.scheduled.values()]
        assert sum(len(s) for s in slots) <= most
        assert totals(part) + totals(self.batch) == before
        self.batch.give_back(part)
        assert totals(self.batch) == before
        assert all(len(slots) == 1 for slots in self.batch.published.values())

    @rule(most=st.integers(1, 3))
    def flush(self, most: int) -> None:
        while self.batch:
            part = self.batch.take(most)
            self.flushed += totals(part)
            self.flushed_runtime += runtime(part)

    @invariant()
    def a_batch_is_true_when_it_has_something(self) -> None:
        assert bool(self.batch) == bool(totals(self.batch))


def totals(batch: Batch) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for kind, counts in (("published", batch.published), ("scheduled", batch.scheduled)):
        for queue, slots in counts.items():
            found[kind, queue] += sum(s if isinstance(s, int) else s.tasks for s in slots.values())
    for queue, done in batch.finished.items():
        found["finished", queue] += done.tasks
    return found


def runtime(batch: Batch) -> float:
    return sum(done.runtime for done in batch.finished.values())


TestTally = TallyMachine.TestCase
