"""The workers of one pool and its queues, in virtual time.

Time passes in :meth:`Cluster.advance`, from event to event: a task is published, a task ends, a
worker comes up, is asked to stop, is killed or ends. Everything is exact to the precision of a
float; times are in seconds from the first task.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from functools import partial
from heapq import heappop
from itertools import count
from math import inf

from celery_middle_management.core.prefetch import AdaptivePrefetch
from celery_middle_management.core.roster import LIFETIME
from celery_middle_management.sim.clock import Clock
from celery_middle_management.sim.model import Model
from celery_middle_management.sim.queues import Queues
from celery_middle_management.sim.trace import Trace
from celery_middle_management.sim.worker import Worker


class Cluster(Clock):
    """All there is, as it really is.

    If it is *managed*, its workers are those of Middle Management: they prefetch as it has them do,
    and one that has come up takes no tasks until it is told to.
    """

    def __init__(self, trace: Trace, model: Model, *, managed: bool = False) -> None:
        super().__init__()
        self.model = model
        self.queues = Queues(trace)
        #: The second in which *now* is: a worker that reports every second did so at its beginning.
        self.second = 0
        #: Every worker that has not ended, in the order of hires.
        self.workers: dict[int, Worker] = {}
        #: The workers that came up, were asked to stop or ended since Middle Management took note.
        self.news: list[Worker] = []
        self.running = 0
        self.finished = 0
        #: When a task last ended.
        self.finished_at = 0.0
        #: Of the run times (s) of the finished tasks: the sum, that of the squares, the longest.
        self.runtime = 0.0
        self.runtime_squares = 0.0
        self.longest = 0.0
        #: How long (s) the tasks that workers began had waited, in all, and how many of these tasks
        #: had waited for longer than *max_wait* (s); known of a *managed* cluster.
        self.waits = 0.0
        self.late = 0
        self.max_wait = inf
        self.killed = 0
        self.hires = 0
        #: The most workers that there were at the same time.
        self.peak = 0
        #: The time (s) for which workers that have ended were paid.
        self.paid = 0.0
        #: When a task was last begun, and how many were at that moment and still run.
        self.begun_at, self.begun = -1.0, 0
        self._managed = managed
        self._with_room: deque[Worker] = deque()
        self._ids = count(1)

    @property
    def next_event(self) -> float:
        """When something happens next; infinite if nothing will."""
        return min(self.next_at, self.queues.next_arrival)

    def advance(self, until: float) -> bool:
        """Let time pass until *until*; return False if it stopped before.

        It stops at each event of a worker's life, of which a scaler can take note at once, and at
        the end of the last task.
        """
        events, queues, published = self.events, self.queues, self.queues.published
        while True:
            arrival = published[queues.arrived]
            if events and events[0][0] <= arrival:
                at = events[0][0]
                if at > until:
                    break
                self.now = at
                _, _, what, task = heappop(events)
                if task < 0:
                    what()
                    return False
                if not what.gone:
                    self._finish(what, task)
                    self.finished_at = at
                    if self.finished == queues.tasks:
                        return False
            elif arrival <= until:
                self.now = arrival
                task = queues.arrived
                queues.arrived = task + 1
                if not self._offer(task):
                    queues.put(task)
            else:
                break
        self.now = until
        return True

    # -- tasks

    def _offer(self, task: int) -> bool:
        """Have the worker that has had room for the longest take a task; return whether one did."""
        with_room, now = self._with_room, self.now
        while with_room:
            worker = with_room.popleft()
            worker.listed = False
            if worker.has_room(now):
                self.queues.pass_by(worker, task)
                self._give(worker, task)
                self._take(worker)
                return True
        return False

    def _give(self, worker: Worker, task: int) -> None:
        """Have a worker hold a task, and begin it if it has a free slot."""
        worker.note_change(self.second)
        worker.held += 1
        if len(worker.running) < self.model.concurrency:
            self._start(worker, task)
        else:
            worker.local.append(task)

    def _start(self, worker: Worker, task: int) -> None:
        now = self.now
        worker.running[task] = now
        self.running += 1
        if self._managed:
            worker.begun += now
            wait = now - self.queues.published[task]
            self.waits += wait
            self.late += wait > self.max_wait
        if now != self.begun_at:
            self.begun_at, self.begun = now, 0
        self.begun += 1
        self.later(self.queues.begin(task, now), worker, task)

    def _finish(self, worker: Worker, task: int) -> None:
        worker.note_change(self.second)
        worker.adapt(self.now)
        begun = worker.running.pop(task)
        worker.begun = worker.begun - begun if worker.running else 0.0
        if begun == self.now:
            self.begun -= 1
        worker.held -= 1
        worker.done += 1
        self.running -= 1
        self.finished += 1
        runtime = self.queues.runtimes[task]
        self.runtime += runtime
        self.runtime_squares += runtime * runtime
        self.longest = max(self.longest, runtime)
        if worker.local:
            self._start(worker, worker.local.popleft())
        self._take(worker)
        if worker.stopping and not worker.running:
            self.later(self.model.shutdown, partial(self._end, worker))

    def _take(self, worker: Worker) -> None:
        """Have a worker take tasks while it has room."""
        queues = self.queues
        while queues.waiting and worker.has_room(self.now):
            self._give(worker, queues.take(worker))
        if not worker.listed and worker.has_room(self.now):
            worker.listed = True
            self._with_room.append(worker)

    def _put_back(self, worker: Worker, tasks: Iterable[int]) -> None:
        """Take tasks from a worker; others run them, as soon as they can."""
        worker.note_change(self.second)
        taken = [*tasks]
        worker.held -= len(taken)
        self.queues.put_back([task for task in taken if not self._offer(task)])

    # -- workers

    def hire(self, number: int, name: str, *, hire_id: str = "", booted: bool = False) -> None:
        """Start a worker, which comes up after its boot, or at once if it is *booted*."""
        model = self.model
        adapts = self._managed and model.prefetch > 1
        worker = Worker(
            *(next(self._ids), number, name, hire_id, self.now),
            slots=model.concurrency,
            capacity=model.concurrency * model.prefetch,
            adaptive=AdaptivePrefetch() if adapts else None,
        )
        self.workers[worker.id] = worker
        self.hires += 1
        self.peak = max(self.peak, len(self.workers))
        if booted:
            self._come_up(worker)
        else:
            self.later(model.boot, partial(self._come_up, worker))
        if hire_id:
            self.later(LIFETIME, partial(self.stop, worker))

    def _come_up(self, worker: Worker) -> None:
        if worker.stopping:
            return
        worker.up = True
        if self._managed:
            self.news.append(worker)
        else:
            self.consume(worker, True)

    def consume(self, worker: Worker, consumes: bool) -> None:
        """Have a worker take tasks, or no more of them."""
        worker.consuming = consumes
        self._take(worker)

    def stop(self, worker: Worker) -> None:
        """Send SIGTERM: a worker finishes what it runs, and is killed when its grace is over."""
        if worker.stopping or worker.gone:
            return
        worker.consuming = False
        worker.stopping = True
        if worker.up and self._managed:
            self.news.append(worker)
        local, worker.local = worker.local, deque()
        self._put_back(worker, local)
        if worker.running:
            self.later(self.model.grace, partial(self._kill, worker))
        else:
            self.later(self.model.shutdown if worker.up else 0.0, partial(self._end, worker))

    def _kill(self, worker: Worker) -> None:
        if worker.gone or not worker.running:
            return
        tasks = sorted(worker.running)
        self.killed += len(tasks)
        self.running -= len(tasks)
        for task in tasks:
            self.queues.was_killed(task, self.now)
        self._end(worker)
        self._put_back(worker, tasks)

    def _end(self, worker: Worker) -> None:
        worker.gone = True
        worker.consuming = worker.up = False
        if self._managed:
            self.news.append(worker)
        self.paid += self.now - worker.hired_at
        del self.workers[worker.id]
