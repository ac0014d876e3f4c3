"""Chaos: real workers, publishers and servers, while many things go wrong at random.

``python -m tests.chaos --minutes 3 --seed 1`` ends with a report, and with status 1 when an
invariant broke; ``--broker``, ``--dynos`` and ``--call-interval`` choose the stage. The
emulator's dynos are real ``celery worker`` processes; a *monkey* kills, pauses, flushes, scales and
deploys while publishers publish. Phases of load and trouble alternate with quiet ones, in which
every published task must finish and the pool must return to its minimum.

Everything that happens is an event in one journal; the invariants are pure functions of it, so a
journal can be judged again with ``python -m tests.chaos --check JOURNAL``.
"""
