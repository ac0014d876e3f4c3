"""Plays the demo, and makes its picture for the README: ``python docs/demo_picture.py``."""

from __future__ import annotations

import io
import re
from collections import deque
from pathlib import Path

from rich.console import Console
from rich.text import Text

from celery_middle_management.demo.play import Play
from celery_middle_management.demo.stage import Stage
from celery_middle_management.demo.view import Moment, picture

WIDTH = 80
PICTURE = Path(__file__).with_name("demo.svg")


class Photographer:
    """A view that takes one picture: while some workers are drained and others finish a task."""

    def __init__(self) -> None:
        self._past: deque[Moment] = deque(maxlen=WIDTH)
        self._said: deque[str] = deque(maxlen=2)
        self._most = 0

    def say(self, text: str) -> None:
        """Remember it for the head of the picture."""
        self._said.append(text)

    def show(self, moment: Moment) -> None:
        """Take the picture, if it is the best one so far."""
        doing = list(moment.workers.values())
        drained = doing.count("drained")
        if "finishing" in doing and drained > self._most:
            self._most = drained
            console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
            for line in self._said:
                console.print(Text(line))
            console.print(picture(moment, self._past, WIDTH))
            svg = console.export_svg(title="Middle Management for Celery")
            # No fonts from elsewhere: the reader's own will do.
            PICTURE.write_text(re.sub(r"@font-face {.*?}|<!--.*?-->", "", svg, flags=re.S))
        if not self._past or moment.elapsed - self._past[-1].elapsed >= 1.0:
            self._past.append(moment)


if __name__ == "__main__":
    with Stage() as stage:
        Play(stage, Photographer(), lambda: False).perform()
