"""Heroku's monthly prices of dynos (dollars). See https://www.heroku.com/pricing."""

from __future__ import annotations

PRICES = {
    "basic": 7.0,
    "standard-1x": 25.0,
    "standard-2x": 50.0,
    "performance-m": 250.0,
    "performance-l": 500.0,
}
