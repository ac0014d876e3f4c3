"""The metrics of an app in Prometheus' formats, for whatever serves ``/metrics``.

This is the only module that needs prometheus_client. The metrics are in none of its registries:
what the app itself exports is left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from celery_middle_management.log_throttle import LogThrottle
from celery_middle_management.managed_app import ManagedApp
from celery_middle_management.views.metrics import Measured, measured
from celery_middle_management.views.readings import Timed
from celery_middle_management.web.latest_status import document_of, read_status

_FAMILIES: dict[str, Any] = {
    "gauge": GaugeMetricFamily,
    "counter": CounterMetricFamily,
    "summary": SummaryMetricFamily,
}

_OPENMETRICS = "application/openmetrics-text;version=1.0.0"
#: A scrape waits this long (s) at most if something is known, and if nothing is. Prometheus gives
#: up after 10 s, unless told otherwise.
_PATIENCE, _FIRST_PATIENCE = 4.0, 8.0

_log = LogThrottle(logging.getLogger("celery_middle_management"))


def exposition(managed: ManagedApp, accept: str = "") -> tuple[bytes, str]:
    """Return the metrics of an app, and their content type.

    It raises nothing because of Redis or the broker: without the ledger, ``celery_mm_up`` is 0. It
    waits for them some seconds at most, and reads nothing if it did so a moment ago.

    Args:
        managed: the app.
        accept: the request's ``Accept`` header, which chooses between OpenMetrics and the older
            text format.
    """
    # Some releases of prometheus_client raise because of the rest of the header, or repeat it.
    encode, content_type = choose_encoder(_OPENMETRICS if "openmetrics-text" in accept else "")
    metrics: Any = _Metrics(managed)
    return encode(metrics), content_type


class _Metrics:
    """The metrics of one app, in place of the registry that prometheus_client encodes."""

    def __init__(self, managed: ManagedApp) -> None:
        reading = read_status(managed, _PATIENCE, _FIRST_PATIENCE)
        if reading.error is not None:
            why = " ".join(str(reading.error).split())
            _log.warn("status", "the status could not be read: %s", why)
        self._measured = measured(document_of(reading))

    def collect(self) -> Iterator[Metric]:
        return map(_metric, self._measured)


def _metric(each: Measured) -> Metric:
    """Return a metric as prometheus_client's own families are."""
    name, kind, text, labels, _ = each.family
    unit = "seconds" if name.endswith("_seconds") else ""
    metric: Any = _FAMILIES[kind](name, text, labels=labels, unit=unit)
    for of, value in each.readings:
        metric.add_metric(of, *(value if isinstance(value, Timed) else (value,)))
    found: Metric = metric
    return found
