"""Small simulations that were computed by hand, from docs/simulate.md and the rules of the rivals.

Nothing takes effect late and workers end at once, unless a case says otherwise: then the numbers
are round. *c* is the moment of the first periodic check, and *Wn* the worker of that number.
"""

from __future__ import annotations

from array import array
from math import ceil
from random import Random

import pytest

from celery_middle_management.sim import Model, Outcome, Trace, policy_named, simulate

#: Task: when it was published, how long it runs, and perhaps the number of its queue.
Task = tuple[float, float] | tuple[float, float, int]


def made(policy: str, tasks: list[Task], **model: float) -> Outcome:
    """Simulate tasks, given in the order of their publication."""
    of = array("H", [task[2] if len(task) == 3 else 0 for task in tasks])
    queues = tuple("ab"[: max(of) + 1])
    published, runtimes = (array("d", [task[n] for task in tasks]) for n in (0, 1))
    trace = Trace("by hand", published, runtimes, queues, of if len(queues) > 1 else None)
    given = Model(**{"latency": 0.0, "shutdown": 0.0, **model})  # type: ignore[arg-type]
    outcome = simulate(trace, policy_named(policy), given)
    slots = given.concurrency * outcome.paid
    assert outcome.efficiency == pytest.approx(sum(runtimes) / slots)
    return outcome


def is_waits(outcome: Outcome, waits: list[float]) -> None:
    """Check the statistics of waits, given in any order."""
    ordered = sorted(waits)
    last = [ceil(len(waits) * part / 100) - 1 for part in (50, 95, 99)]
    expected = (sum(waits) / len(waits), *(ordered[n] for n in last), ordered[-1])
    assert tuple(outcome.waits) == pytest.approx(expected, abs=1e-3)


def is_pool(
    outcome: Outcome, *, paid: float, hires: int, calls: int, peak: int, kills: int
) -> None:
    assert outcome.paid == pytest.approx(paid, abs=1e-3)
    assert (outcome.hires, outcome.calls) == (hires, calls)
    assert (outcome.peak_workers, outcome.killed) == (peak, kills)


def first(interval: float, seed: int = 0) -> float:
    """Return *c*, the moment of the first check."""
    return Random(seed).random() * interval


def test_one_worker_and_three_tasks() -> None:
    """The first runs 0..4, the second (published at 1) 4..7, the third 10..12, without waiting."""
    outcome = made("fixed:1", [(0, 4), (1, 3), (10, 2)])
    is_waits(outcome, [0, 3, 0])
    is_pool(outcome, paid=12, hires=1, calls=0, peak=1, kills=0)


def test_percentiles_are_the_least_waits_that_so_many_do_not_exceed() -> None:
    """Twenty tasks of 1 s wait 0..19 s. The 10th of them waits 9, the 19th 18, the 20th 19."""
    waits = made("fixed:1", [(0, 1)] * 20).waits
    assert tuple(waits) == (9.5, 9, 18, 19, 19)


def test_one_worker_with_two_slots() -> None:
    """Slot 1 runs the first 0..10; slot 2 the others: 0..4, 4..7 and (published at 5) 7..8."""
    outcome = made("fixed:1", [(0, 10), (0, 4), (0, 3), (5, 1)], concurrency=2)
    is_waits(outcome, [0, 0, 4, 2])
    is_pool(outcome, paid=10, hires=1, calls=0, peak=1, kills=0)


def test_two_queues_in_turn() -> None:
    """From queue a, 0..10. Then it is b's turn (7 s), a's (10 s), b's (8 s) and a's (11 s)."""
    outcome = made("fixed:1", [(0, 10, 0), (1, 1, 0), (2, 1, 0), (3, 1, 1), (4, 1, 1)])
    is_waits(outcome, [0, 7, 10, 8, 11])
    is_pool(outcome, paid=14, hires=1, calls=0, peak=1, kills=0)


def test_a_prefetched_task_waits_behind_a_long_one() -> None:
    """Without prefetching, one worker runs 0..100; the other 0..10, 10..11, 11..12, 12..13.

    With it, each has room for one more at 2: one of these waits for 98 s, the other runs at 10. The
    last finds no room until then, and runs at 11.
    """
    tasks: list[Task] = [(0, 100), (0, 10), (2, 1), (2, 1), (4, 1)]
    is_waits(made("fixed:2", tasks), [0, 0, 8, 9, 8])
    is_waits(made("fixed:2", tasks, prefetch=2), [0, 0, 98, 8, 7])


def test_what_a_minimum_can_do_needs_no_boot_and_no_call() -> None:
    """All start at once, until 1, 6 and 8. It ends with the minimum of two, paid for 8 s each."""
    outcome = made("hirefire:1", [(0, 1), (1, 5), (3, 5)], minimum=2, seed=3)
    assert first(60, seed=3) > 8  # no check was made
    is_waits(outcome, [0, 0, 0])
    is_pool(outcome, paid=16, hires=2, calls=0, peak=2, kills=0)


def test_latency_boot_and_shutdown_are_paid_but_for_the_first_latency() -> None:
    """Requested at c, paid from c+0.5, takes tasks at c+12.5. Done at c+22.5.

    The check at c+60 fires it: SIGTERM at c+60.5, exit at c+62.5, so it is paid for 62 s.
    """
    outcome = made("hirefire:5", [(0, 10)], latency=0.5, shutdown=2.0)
    is_waits(outcome, [first(60) + 12.5])
    is_pool(outcome, paid=62, hires=1, calls=2, peak=1, kills=0)


def test_hirefire_follows_a_burst_and_lets_a_task_finish() -> None:
    """Twelve tasks of 20 s: ceil(12 / 5) = 3 workers at c, three rounds at c+12, c+32 and c+52.

    At c+60, three run and three wait: ceil(6 / 5) = 2. W3 gets SIGTERM, finishes by c+72, and is
    paid for 72 s. W1 and W2 take two of the rest at c+72 and one the last at c+92, until c+112.
    At c+120 nothing is left: they go, paid for 120 s each.
    """
    outcome = made("hirefire:5", [(0, 20)] * 12)
    c = first(60)
    is_waits(outcome, [*[c + 12] * 3, *[c + 32] * 3, *[c + 52] * 3, *[c + 72] * 2, c + 92])
    is_pool(outcome, paid=72 + 2 * 120, hires=3, calls=3, peak=3, kills=0)


def test_the_highest_number_is_killed_though_it_is_busy_and_its_task_runs_again_in_front() -> None:
    """W1 runs the long one c+12..c+172. At c+60 three jobs make W2, which is up at c+72.

    W2 runs the second c+72..c+73 (it waited for 59 s) and the third from c+73 (also 59 s). At
    c+120 two jobs are left, so W2 gets SIGTERM; its task is killed at c+150 and waits for W1
    until c+172: 22 s more. It is in front of the fourth, published at c+130, and runs until
    c+372. Then the fourth runs, having waited for 242 s, until c+377. W1 goes at c+420.
    """
    c = first(60)
    outcome = made("hirefire:2", [(0, 160), (c + 13, 1), (c + 14, 200), (c + 130, 5)])
    is_waits(outcome, [c + 12, 59, 59 + 22, 242])
    is_pool(outcome, paid=420 + 90, hires=2, calls=4, peak=2, kills=1)


def test_workers_that_are_stopping_are_paid_beyond_the_maximum() -> None:
    """W1 runs the first c+12..c+172; W2 the second c+72..c+73 and the third c+73..c+193.

    W2 gets SIGTERM at c+120, and may take 100 s. W1 takes one of four new tasks, so there is
    enough to do for the two workers of the maximum at c+180: a third is paid, up at c+192. The
    new tasks, of c+130, run at c+172 (W1), c+192, c+222 (W1) and c+242, until c+292.
    """
    c = first(60)
    tasks: list[Task] = [(0, 160), (c + 13, 1), (c + 14, 120), *[(c + 130, 50)] * 4]
    outcome = made("hirefire:2", tasks, grace=100.0, maximum=2)
    is_waits(outcome, [c + 12, 59, 59, 42, 62, 92, 112])
    is_pool(outcome, paid=300 + 133 + 120, hires=3, calls=5, peak=3, kills=0)


def test_a_fired_worker_gives_back_what_it_has_not_begun() -> None:
    """W1 runs the first c+12..c+112 and holds the second, which it runs at c+112 (99 s).

    Four jobs at c+60 make W2, up at c+72: it runs the third until c+122 and holds the fourth. At
    c+120 two jobs are left and W2 gets SIGTERM: the fourth is W1's at once (106 s), which is
    idle, and W2 exits at c+122. W1 goes at c+180.
    """
    c = first(60)
    tasks: list[Task] = [(0, 100), (c + 13, 1), (c + 14, 50), (c + 14, 1)]
    outcome = made("hirefire:3", tasks, prefetch=2)
    is_waits(outcome, [c + 12, 99, 58, 106])
    is_pool(outcome, paid=180 + 62, hires=2, calls=4, peak=2, kills=0)


def test_a_worker_that_is_fired_while_it_boots_ends_at_once() -> None:
    """Boots take 90 s. W1 is hired at c+0.5, W2 for the second task at c+60.5, up at c+150.5.

    W1 does both, c+90.5..c+95.5 and until c+100.5, so both get SIGTERM at c+120.5. W1 exits 2 s
    later, and W2 at once. W1 is paid for 122 s and W2 for 60 s.
    """
    c = first(60)
    outcome = made("hirefire:1", [(0, 5), (c + 50, 5)], boot=90.0, latency=0.5, shutdown=2.0)
    is_waits(outcome, [c + 90.5, 45.5])
    is_pool(outcome, paid=122 + 60, hires=2, calls=3, peak=2, kills=0)


@pytest.mark.parametrize("seed", range(10))
def test_judoscale_hires_from_zero_again_after_a_minute_and_fires_slowly(seed: int) -> None:
    """W1 is hired at c, runs the first c+12..c+112. The second is old, but W2 comes at c+60.

    It is up at c+72 (the second, published at 1, waited for c+71). The check at c+80 is the first
    that sees no old task, so W2 goes 600 s later, at c+680, and W1 at c+1280.
    """
    c = first(10, seed)
    outcome = made("judoscale", [(0, 100), (1, 100)], seed=seed)
    is_waits(outcome, [c + 12, c + 71])
    is_pool(outcome, paid=1280 + 620, hires=2, calls=4, peak=2, kills=0)


@pytest.mark.parametrize("seed", range(10))
def test_keda_stabilizes_for_300_s_and_cools_down_before_zero(seed: int) -> None:
    """Twenty tasks of 40 s. KEDA makes W1 at c; at c+15, 19 wait: ceil(19 / 5) = 4 pods.

    W1 takes tasks at c+12, 52, 92, 132 and 172, the others each at c+27, 67, 107, 147 and 187. The
    autoscaler sees 16 waiting tasks until c+45 (4 pods), then 15, 12, 12 and 11 until c+105 (3),
    8 and 7 until c+135 (2), and fewer than 6 later (1). It obeys the highest of the last 300 s,
    which includes one that is 300 s old: 3 pods at c+360, 2 at c+420, 1 at c+450. KEDA last saw a
    waiting task at c+180, so 300 s have not passed at c+480, but have at its next poll at c+510.
    """
    c = first(15, seed)
    outcome = made("keda:5", [(0, 40)] * 20, seed=seed)
    rounds = [*[12, 52, 92, 132, 172], *[27, 67, 107, 147, 187] * 3]
    is_waits(outcome, [c + began for began in rounds])
    paid = 510 + (450 - 15) + (420 - 15) + (360 - 15)
    is_pool(outcome, paid=paid, hires=4, calls=6, peak=4, kills=0)


def test_aws_needs_three_points_and_fifteen() -> None:
    """Ten tasks of 100 s. W1 comes at c, one point sufficing, and takes tasks at c+12, c+112 ...

    Points: 10 at c, 9 at c+60, 8 at c+120 (W1 took a second at c+112). Three above 2, so
    ceil(1 * 8 / 2) = 4 workers at c+120, and the new ones take tasks at c+132 and c+232. The
    point at c+180 is 5 / 4, below 0.9 * 2, as are all later ones. The 15th of them, at c+1020,
    takes one worker away, and then one goes each 300 s: W3 at c+1320, W2 at c+1620, W1 at c+1920.
    """
    c = first(60)
    outcome = made("aws:2", [(0, 100)] * 10)
    rounds = [12, 112, 212, 312, *[132, 232] * 3]
    is_waits(outcome, [c + began for began in rounds])
    is_pool(outcome, paid=900 + 1200 + 1500 + 1920, hires=4, calls=6, peak=4, kills=0)


def test_the_original_changes_at_once_from_zero_and_then_every_10_s() -> None:
    """W1 comes at 0, up at 15. Two wait at 2, too soon; the second look at 12 makes W2, up at 27.

    W1 runs 15..65, W2 27..77. When the first ends, none is ready: both get SIGTERM at 65, and W2
    finishes within the grace.
    """
    outcome = made("original:1", [(0, 50), (2, 50)], boot=15.0)
    is_waits(outcome, [15, 25])
    is_pool(outcome, paid=65 + 65, hires=2, calls=3, peak=2, kills=0)


def test_the_original_does_not_wait_10_s_after_a_change_that_its_minimum_forbade() -> None:
    """W1, the minimum, runs 0..5; then nothing is ready, but one worker is the least.

    So no change was made when W1 takes the second (8..48). The third waits; when the fourth comes
    too, W2 is hired at 9.5 and up at 21.5. It runs the third (12.5 s) and at 41.5 the fourth.
    """
    outcome = made("original:1", [(0, 5), (8, 40), (9, 20), (9.5, 1)], minimum=1)
    is_waits(outcome, [0, 0, 12.5, 32])


# Middle Management. Its workers report what they do within REPORT, and what happens at the same
# time is gathered for GATHER before a decision: so much later than at once may it hire.
REPORT, GATHER = 1.0, 0.1
HIRED = 0.5 + 12
#: A worker's end is decided when it has told that its task is done, has heard that it is to take
#: no more, and has told so. The formation is then asked, which takes half a second.
LEFT = 3 * REPORT + 2 * GATHER + 0.5

both_ways = pytest.mark.parametrize("one_off", [False, True])


def managed(jobs: int, tasks: list[Task], **model: float) -> Outcome:
    outcome = made(f"jobs_per_worker:{jobs}", tasks, latency=0.5, shutdown=2.0, **model)
    assert outcome.killed == 0
    return outcome


@both_ways
def test_a_single_task_has_a_worker_hired_at_once(one_off: bool) -> None:
    """It is the same again when all have left: twice a boot of 12 s, 5 s of work and 2 s to end."""
    outcome = managed(10, [(0, 5), (300, 5)], one_off=one_off)
    assert HIRED <= outcome.waits.p50 <= outcome.waits.max <= HIRED + GATHER + REPORT
    assert 2 * 19 <= outcome.paid <= 2 * (19 + LEFT)
    assert (outcome.hires, outcome.peak_workers) == (2, 1)


@both_ways
def test_a_burst_has_all_its_workers_hired_together_up_to_the_maximum(one_off: bool) -> None:
    """Six tasks of 10 s on five workers: the sixth starts 10 s later. On two: three rounds."""
    five, two = (managed(1, [(0, 10)] * 6, one_off=one_off, maximum=n) for n in (5, 2))
    late = GATHER + REPORT
    assert HIRED <= five.waits.p50 <= HIRED + late
    assert HIRED + 10 <= five.waits.max <= HIRED + 10 + late
    assert HIRED + 10 <= two.waits.mean <= HIRED + 10 + late
    assert HIRED + 20 <= two.waits.max <= HIRED + 20 + late
    assert [(n.hires, n.peak_workers) for n in (five, two)] == [(5, 5), (2, 2)]


@both_ways
def test_a_long_task_is_left_alone(one_off: bool) -> None:
    """Three workers take 314, 19 and 19 s. One-offs then leave; the formation's may stay."""
    outcome = managed(1, [(0, 300), (0, 5), (0, 5)], one_off=one_off)
    least = 314 + 2 * 19
    assert least <= outcome.paid <= (least if one_off else 3 * 314) + 3 * LEFT
    assert (outcome.hires, outcome.peak_workers) == (3, 3)


def test_the_minimum_stays() -> None:
    """In the formation it is up, and paid until the last task ends at 25.

    A one-off worker is hired as soon as a process has something to report, after 0.1 s.
    """
    tasks: list[Task] = [(0, 5), (20, 5)]
    outcome = managed(10, tasks, minimum=1)
    is_waits(outcome, [0, 0])
    is_pool(outcome, paid=25, hires=1, calls=0, peak=1, kills=0)
    outcome = managed(10, tasks, minimum=1, one_off=True)
    is_waits(outcome, [GATHER + HIRED, 0])
    is_pool(outcome, paid=24.4, hires=1, calls=1, peak=1, kills=0)


@pytest.mark.parametrize("policy", ["jobs_per_worker:1", "hirefire:1", "judoscale", "keda:1"])
def test_what_is_paid_after_the_last_task_is_told(policy: str) -> None:
    """The only worker boots for 12 s and runs the only task for 5 s; all else comes after it."""
    outcome = made(policy, [(0, 5)], boot=12)
    assert outcome.hires == 1
    assert outcome.tail == pytest.approx(outcome.paid - 17, abs=1e-3)


def test_nothing_is_paid_after_the_last_task_if_the_workers_end_with_it() -> None:
    assert made("fixed:2", [(0, 4), (1, 3)]).tail == 0
