"""What people and programs are shown: the status document and what is wrong. Read only."""
