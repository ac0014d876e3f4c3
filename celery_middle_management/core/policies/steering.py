"""How strict the policy of the longest wait is, by the share of tasks that did start late.

This is a stochastic approximation of a quantile (Robbins and Monro, A Stochastic Approximation
Method, 1951). So an error of the policy's model, or of what was measured, costs time or money for a
while and not for ever.
"""

from __future__ import annotations

from math import exp, log

#: The share of tasks that may start late, ...
LATE = 0.05
#: ... and that which is aimed at: what was learned late, or of other times, is to be made up for.
AIM = 0.02
#: The part of the allowed wait to plan with while nothing has been learned, and its limits.
FACTOR, LEAST_FACTOR, MOST_FACTOR = 0.6, 0.1, 1.5
#: How much a task changes the logarithm of the factor, ...
LEARNS = 0.02
#: ... and by how much it falls or rises at most in a time as long as the allowed wait or a boot.
FALLS, RISES = 0.5, 0.1
#: What was learned fades in about this time (s), lest a quiet pool never recovers from trouble.
REMEMBERS = 86_400.0


def faded(factor: float, time: float) -> float:
    """Return the *factor* after a *time* (s) in which nothing was learned."""
    return FACTOR * exp(log(factor / FACTOR) * exp(-time / REMEMBERS))


def steered(factor: float, started: int, late: int, time: float) -> float:
    """Return the *factor* after so many tasks have started, and so many of them late.

    *time* is that since the last change, in units of the allowed wait or a boot.
    """
    step = LEARNS * (AIM * started - late)
    step = min(max(step, -FALLS * max(time, 0.05)), RISES * min(time, 1.0))
    return min(max(factor * exp(step), LEAST_FACTOR), MOST_FACTOR)
