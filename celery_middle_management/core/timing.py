"""Times (s) that depend on each other; ``tests/unit/test_timing.py`` says how."""

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
#: A platform that has said that it lowered the quantity tells the workers within this time (s).
STOPS_WITHIN = 5.0
#: A change whose answer did not come is carried out within this time (s) after it was given up, and
#: its workers told, or never: Heroku ends a request after 30 s, and what is in between may be slow.
LANDS_WITHIN = 60.0 + STOPS_WITHIN
#: When Redis has lost its data, a cordoned worker takes no tasks for so long (s): longer than it
#: takes until another evaluates in the place of one that died.
KEEPS_CORDON = 20.0
#: A worker that has never heard of the ledger takes no tasks for so long (s) after its start: what
#: may stop it was sent before anybody could know of it, and takes effect by then.
HEARS_WITHIN = 80.0
#: A platform kills who has not ended this long (s) after it was asked to.
KILLS_AFTER = 30.0
#: So one that was replaced, or is no longer running for the platform, and has been silent, so long
#: ago (s) is surely gone.
SURELY_KILLED = KILLS_AFTER + 10.0
#: A worker reports every second; one not heard of for this long (s) is silent.
SILENT = 5.0
#: A scheduled task due within this time (s) is as good as begun: it would start while a lowering
#: that was sent before is still on its way.
IMMINENT = 45.0
#: A publisher has told of a scheduled task when a worker has held it for this time (s).
RECENT = LONGEST_HOLD + 3.0
