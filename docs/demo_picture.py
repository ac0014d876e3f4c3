"""Play the demo and make the README's picture of it: ``python docs/demo_picture.py``."""

from __future__ import annotations

import io
import re
from collections import deque
from pathlib import Path

from rich.console import Console
from rich.text import Text

from celery_middle_management.demo.play import IMAGES, Play
from celery_middle_management.demo.stage import Stage
from celery_middle_management.demo.view import Moment, picture

WIDTH = 80
#: A picture with this many fired workers is good enough.
GOOD = 4
PICTURE = Path(__file__).with_name("demo.svg")


class Photographer:
    """A view that takes one picture: while one worker finishes a task and most others are fired."""

    def __init__(self) -> None:
        self._past: deque[Moment] = deque(maxlen=WIDTH)
        self._said: deque[str] = deque(maxlen=3)
        self.fired = 0

    def say(self, text: str) -> None:
        """Remember it for the head of the picture."""
        self._said.append(text)

    def show(self, moment: Moment) -> None:
        """Take the picture, if it is the best one so far."""
        doing = list(moment.workers.values())
        fired = doing.count("") if moment.total > IMAGES and "finishing" in doing else 0
        if fired > self.fired:
            self.fired = fired
            console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
            for line in self._said:
                console.print(Text(line))
            console.print(picture(moment, self._past, WIDTH))
            svg = console.export_svg(title="Middle Management for Celery")
            # Load no fonts from the web: the reader's own will do.
            PICTURE.write_text(re.sub(r"@font-face {.*?}|<!--.*?-->", "", svg, flags=re.S))
        if not self._past or moment.elapsed - self._past[-1].elapsed >= 1.0:
            self._past.append(moment)


if __name__ == "__main__":
    with Stage() as stage:
        # Which workers get the films is a matter of chance.
        for _ in range(5):
            photographer = Photographer()
            print(Play(stage, photographer, lambda: False).perform())
            if photographer.fired >= GOOD:
                break
