"""Carries counts to the ledger, and evaluates when the ledger says that this is due."""
