"""The faults of production, caused at random by a monkey."""

from __future__ import annotations

from .monkey import KINDS, Monkey

__all__ = ["KINDS", "Monkey"]
