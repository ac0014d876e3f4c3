"""The section of the admin's index, its panel, and the live page behind it."""

from __future__ import annotations

from typing import Any

from celery.exceptions import ImproperlyConfigured
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from celery_middle_management.web import Visitor
from celery_middle_management.web.django.bridge import call_wsgi
from celery_middle_management.web.django.managed import page
from celery_middle_management.web.django.models import Workers
from celery_middle_management.web.django.panel import panel


@admin.register(Workers)
class WorkersAdmin(admin.ModelAdmin):  # type: ignore[misc]
    """Shows the workers to staff who may view them.

    Staff who may change them can use the buttons of the live page.
    """

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Workers are hired, not added."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Workers are fired, not deleted."""
        return False

    def get_urls(self) -> list[Any]:
        """Return the panel, in the place of a list of objects, and the live page."""
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        # The page protects its own forms, by a header that no other site can send.
        live = csrf_exempt(self.live)
        # It sets its own cache headers, for its scripts among others.
        behind_login = self.admin_site.admin_view(live, cacheable=True)
        return [
            path("", self.admin_site.admin_view(self.changelist_view), name=f"{name}_changelist"),
            path("live/", behind_login, name=f"{name}_live"),
            # What a script asks for gets an error when the session has ended, not the login's form.
            path("live/<path:path>", live),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the panel."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": "Workers",
            "opts": self.opts,
            **panel(),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "middle_management/panel.html", context)

    def live(self, request: HttpRequest, path: str = "") -> HttpResponse:
        """Answer as the live page does."""
        try:
            return call_wsgi(page(), request, path, self._visitor(request))
        except ImproperlyConfigured as error:
            return HttpResponse(f"{error}\n", content_type="text/plain", status=503)

    def _visitor(self, request: HttpRequest) -> Visitor | None:
        if not (self.admin_site.has_permission(request) and self.has_view_permission(request)):
            return None
        # In a project's own model of users, and its own permissions, they may be of other types.
        name, may_act = request.user.get_username(), self.has_change_permission(request)
        return Visitor(str(name), may_act=bool(may_act))
