"""The live page: a WSGI callable to mount in any web app, and the server of ``mm web``."""

from __future__ import annotations

from celery_middle_management.web.page import Page
from celery_middle_management.web.visitor import Visitor

__all__ = ["Page", "Visitor"]
