"""Times (s) that depend on each other; ``tests/unit/test_timing.py`` says how.

Times that depend on the platform are in its traits.
"""

from __future__ import annotations

#: A scaler that died is replaced when its lock runs out (s).
LOCK_SECONDS = 12.0
#: The lock must last at least this much longer (s) when its holder begins something irreversible.
LOCK_MARGIN = 1.0
#: Evaluations (not hires from zero) are at least this far (s) apart.
EVALUATION_GAP = 2.0
#: How often (s) a process looks for what was published.
LOOK = 0.1
#: A burst is gathered for this long (s), so that workers are hired for it as a whole.
GATHER = 0.1
#: A publisher holds back its counts for at most this long (s) while they can change nothing.
LONGEST_HOLD = 5.0
#: And for at most this long (s) while a pool without workers is about to hire.
ZERO_HOLD = 0.5
#: An idle publisher reports this often (s): another may have died right after publishing a task, or
#: Redis may have lost its data. While a worker keeps watch, publishers leave evaluations to it.
STAND_BY = 9.0
#: A worker that reported within this time (s) keeps watch. If it dies then, publishers take over
#: when the lock has run out: this time and STAND_BY together do not exceed LOCK_SECONDS.
WATCHES = 3.0
#: A platform that failed is assumed to fail until it answers, or for at most this long (s).
KNOWN_TO_FAIL = 600.0
#: When Redis has lost its data, a cordoned worker takes no tasks for this long (s): longer than
#: another process needs to take over evaluations from one that died.
KEEPS_CORDON = 20.0
#: A worker reports every second; one that has not reported for this long (s) is silent.
SILENT = 5.0
#: A publisher has reported a scheduled task by the time a worker has held it for this long (s).
RECENT = LONGEST_HOLD + 3.0
