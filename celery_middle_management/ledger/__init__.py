"""The ledger: what all processes of an app know together, kept in Redis."""
