"""The model behind the admin's section and the two permissions."""

from __future__ import annotations

from django.db import models


class Workers(models.Model):  # type: ignore[misc]
    """The workers of the Celery app. Has no table: they are known by the ledger.

    Being unmanaged, it needs no migration. ``manage.py migrate`` makes its two permissions, as for
    every model: to view the workers, and to change them by the page's buttons.
    """

    class Meta:
        managed = False
        default_permissions = ("view", "change")
        verbose_name = verbose_name_plural = "workers"
