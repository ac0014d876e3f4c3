"""Signals about scaling, like Celery's own.

::

    from celery_middle_management.signals import workers_hired

    @workers_hired.connect
    def note(pool, before, after, reason, **kwargs):
        ...

The sender is the Celery app. A signal is sent once, in the process that made the evaluation, after
the ledger has stored what it did; it is lost if that process dies at this moment. Receivers run one
after another in a daemon thread of their own, so that they delay neither tasks nor evaluations; one
that raises is logged. Give each of them ``**kwargs``: later releases may add arguments.

Signals are sent wherever pools are evaluated, so connect receivers in the module that makes the
app.
"""

from __future__ import annotations

from celery.utils.dispatch import Signal

__all__ = ["scaling_failed", "stuck_at_max", "workers_fired", "workers_hired"]

_CHANGE = ("pool", "before", "after", "reason", "at", "dry_run")

#: Sent when the platform has confirmed that a pool has more workers. Arguments: ``pool`` (its
#: name), ``before`` and ``after`` (numbers of workers), ``reason`` (in words), ``at`` (an aware
#: datetime), ``dry_run`` (True if nothing was changed, because of ``middle_management_dry_run``).
workers_hired = Signal(name="workers_hired", providing_args=_CHANGE)

#: Sent when the platform has confirmed that a pool has fewer workers. The arguments are those of
#: :data:`workers_hired`.
workers_fired = Signal(name="workers_fired", providing_args=_CHANGE)

#: Sent when something begins to keep pools from being scaled, such as a refused key, a limit of the
#: platform, workers that do not report, or a broker that cannot be read; not again for the same
#: trouble within 10 minutes. Arguments: ``pool`` (its name; None: every pool), ``kind`` (one word),
#: ``reason`` (in words), ``at`` (an aware datetime).
scaling_failed = Signal(name="scaling_failed", providing_args=("pool", "kind", "reason", "at"))

#: Sent when tasks have been waiting for 5 minutes because a pool needs more workers than its
#: ``max_workers``. Arguments: ``pool`` (its name), ``reason`` (in words), ``at`` (an aware
#: datetime).
stuck_at_max = Signal(name="stuck_at_max", providing_args=("pool", "reason", "at"))
