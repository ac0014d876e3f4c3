"""The page in a real Chromium: ``pytest tests/browser``, with the extra ``browser``."""
