"""How other autoscalers decide, each by its own documentation as of November 2026.

Where the documentation leaves something open, the rule does what suits the rival best. What none of
them is charged for: the time that its service takes to read the queue and to ask the platform.
"""
