"""The status document, for people and programs, and the troubles in it. Read only."""
