"""`mm doctor`: each check beside what it is for, broken for real."""
