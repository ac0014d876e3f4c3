"""What the demo came to, in tasks and in dollars, and what to type next."""

from __future__ import annotations

from dataclasses import dataclass

#: Hours of a night, in which no worker is hired.
NIGHT_HOURS = 8
#: What Heroku asks for a standard-1x dyno, by the second ($ a month).
DYNO = 25.0
#: The first step of the README, in the clone that the demo was started from.
NEXT = "python3 -m pip wheel --no-deps --wheel-dir /path/to/your-app/vendor ."


@dataclass(frozen=True)
class Outcome:
    """What it came to. Times in seconds, the night left out."""

    tasks: int
    succeeded: int
    elapsed: float
    paid: float
    maximum: int

    @property
    def always_on(self) -> float:
        """Worker-seconds that the maximum would have cost."""
        return self.elapsed * self.maximum

    @property
    def bill(self) -> str:
        """The price of a month, beside that of the maximum, always on."""
        share, month = self.paid / self.always_on, self.maximum * DYNO
        price = month * share * (24 - NIGHT_HOURS) / 24
        return (
            f"Paid: {self.paid:.0f} worker-seconds. "
            f"{self.maximum} workers, always on: {self.always_on:.0f}. That is {share:.0%}.\n"
            f"On Heroku, {self.maximum} standard-1x dynos, always on, cost ${month:.0f} a month.\n"
            f"With days as busy as this and {NIGHT_HOURS} hours a night at zero: ${price:.0f}. "
            f"You save ${month - price:.0f}."
        )

    def __str__(self) -> str:
        return (
            f"{self.succeeded} of {self.tasks} tasks done in {self.elapsed:.0f} s, "
            f"and every worker is fired.\n{self.bill}\n\n"
            "Next, build it for your own app, in this clone:\n\n"
            f"    {NEXT}\n\n"
            'Then go on with step 1 of "Getting started" in README.md.'
        )
