"""Times (s) that depend on each other; ``tests/unit/test_timing.py`` says how.

Those that a platform has of its own are its traits.
"""

from __future__ import annotations

#: A scaler that died is replaced when its lock runs out (s).
LOCK_SECONDS = 12.0
#: The lock must be this far (s) from running out when its holder begins what cannot be undone.
LOCK_MARGIN = 1.0
#: Evaluations (not hires from zero) are at least this far (s) apart.
EVALUATION_GAP = 2.0
#: A publisher keeps its counts for at most this long (s) while they can change nothing.
LONGEST_HOLD = 5.0
#: And for this long while a pool is about to be hired from zero.
ZERO_HOLD = 0.5
#: Publishers look in this often (s), for another may have published what nobody else would wake a
#: worker for, or Redis lost its data. While a worker keeps watch, they leave evaluations to it.
STAND_BY = 9.0
#: A worker that reported within this time (s) keeps watch. Should it die then, publishers come when
#: the lock has run out: both together are no longer than that.
WATCHES = 3.0
#: A platform that failed is known to fail until it answers, or for this long (s) at most.
KNOWN_TO_FAIL = 600.0
#: When Redis has lost its data, a cordoned worker takes no tasks for so long (s): longer than it
#: takes until another evaluates in the place of one that died.
KEEPS_CORDON = 20.0
#: A worker reports every second; one not heard of for this long (s) is silent.
SILENT = 5.0
#: A publisher has told of a scheduled task when a worker has held it for this time (s).
RECENT = LONGEST_HOLD + 3.0
