"""A simulator: what each policy would have cost, on a trace of tasks."""
