"""Finds what is wrong with an installation and says how to mend it. Changes nothing."""

from celery_middle_management.doctor.examination import examine
from celery_middle_management.doctor.finding import FAILURE, OK, WARNING, Finding

__all__ = ["FAILURE", "OK", "WARNING", "Finding", "examine"]
