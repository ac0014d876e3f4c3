"""What Django is told of this package."""

from __future__ import annotations

from django.apps import AppConfig


class MiddleManagementConfig(AppConfig):  # type: ignore[misc]
    """The Django app, whose label is in its permissions and addresses."""

    name = "celery_middle_management.web.django"
    label = "middle_management"
    verbose_name = "Middle Management"

    def ready(self) -> None:
        """Register the checks."""
        from celery_middle_management.web.django import checks

        checks.register()
