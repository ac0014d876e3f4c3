"""The result of the demo in tasks and dollars, and the next command to type."""

from __future__ import annotations

from dataclasses import dataclass

#: Hours of the night, during which no worker is hired.
NIGHT_HOURS = 8
#: Heroku's price of a standard-1x dyno, billed by the second ($ a month).
DYNO = 25.0
#: The first step of the README, in the clone that the demo was started from.
NEXT = "python3 -m pip wheel --no-deps --wheel-dir /path/to/your-app/vendor ."


@dataclass(frozen=True)
class Outcome:
    """The result of the demo. Times are in seconds; *elapsed* leaves out the night."""

    tasks: int
    succeeded: int
    elapsed: float
    night: float
    paid: float
    maximum: int

    @property
    def always_on(self) -> float:
        """The worker-seconds that the maximum, always on, would have cost."""
        return self.elapsed * self.maximum

    @property
    def bill(self) -> str:
        """The cost, compared with the maximum always on, and the price of a month like that."""
        share, month = round(self.paid / self.always_on, 2), self.maximum * DYNO
        day = 24 - NIGHT_HOURS
        return (
            f"Paid: {self.paid:.0f} worker-seconds in these {self.elapsed:.0f} s; "
            f"{self.maximum} workers, always on: {self.always_on:.0f}. That is {share:.0%}.\n"
            f"On Heroku, {self.maximum} standard-1x dynos, always on, cost ${month:.0f} a month. "
            "With days like\n"
            f"this script, and {NIGHT_HOURS} hours a night at zero: "
            f"${month:.0f} x {share:.0%} x {day}/24 = ${month * share * day / 24:.0f}."
        )

    def __str__(self) -> str:
        return (
            f"{self.succeeded} of {self.tasks} tasks done in {self.elapsed:.0f} s and "
            f"{self.night:.0f} s of night, and every worker is fired.\n{self.bill}\n\n"
            "Next, build it for your own app, in this clone:\n\n"
            f"    {NEXT}\n\n"
            'Then do the rest of step 1 of "Getting started" in README.md.'
        )
