"""The ledger: the data that all processes of an app share, kept in Redis."""
