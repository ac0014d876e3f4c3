"""The page without Redis."""
