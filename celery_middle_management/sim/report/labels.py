"""Labels of points in a plot, which keep clear of each other and of the points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import cos, dist, pi, sin
from random import Random
from typing import NamedTuple

Point = tuple[float, float]
Line = tuple[Point, Point]

#: How far (px) a mark reaches from its point, and a label keeps from other things.
MARK, _GAP = 6.0, 3.0
#: A leader that crosses another label is as bad as one so long (px), and so is a missing label.
_CROSSING, _MISSING = 500.0, 10_000.0
#: Labels are placed in so many orders at most, and in fewer if there are many labels.
_MOST_ORDERS, _WORK = 30, 1500
#: How far (px) a label is from its point at most: as a rule, and if it must.
_NEAR, _FAR = 150, 1500
#: Where a label is put at first, and then, in sixteenths of a turn: right, above, below, left.
_TURNS = (0, 12, 4, 8, 15, 1, 9, 7, 14, 2, 10, 6, 13, 3, 11, 5)


class Box(NamedTuple):
    """A rectangle (px)."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box, gap: float = 0.0) -> bool:
        """Return whether less than *gap* is between this and another one."""
        return (
            self.left < other.right + gap
            and other.left < self.right + gap
            and self.top < other.bottom + gap
            and other.top < self.bottom + gap
        )

    def cut_by(self, line: Line) -> bool:
        """Return whether a part of a line is in this."""
        (x, y), (to_x, to_y) = line
        enters, leaves = 0.0, 1.0
        for at, way, low, high in (
            (x, to_x - x, self.left, self.right),
            (y, to_y - y, self.top, self.bottom),
        ):
            if way:
                near, far = sorted(((low - at) / way, (high - at) / way))
                enters, leaves = max(enters, near), min(leaves, far)
            elif not low < at < high:
                return False
        return enters < leaves

    def within(self, other: Box) -> Box:
        """Return the part of this that is in another one."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        return Box(left, top, min(self.right, other.right), min(self.bottom, other.bottom))

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """Return the point of the rectangle that is nearest to another one."""
        return min(max(x, self.left), self.right), min(max(y, self.top), self.bottom)


def place(points: Sequence[Point], sizes: Sequence[Point], inside: Box) -> list[Box | None]:
    """Return where labels of these *sizes* go: each near its point, and clear of all else.

    None is for a label that there is no room for.
    """
    order = sorted(range(len(points)), key=lambda i: points[i])
    best, least = _placed(order, points, sizes, inside)
    random = Random(1)
    for _ in range(min(_MOST_ORDERS, _WORK // (len(points) ** 2 + 1))):
        if not least:
            break
        random.shuffle(order)
        boxes, badness = _placed(order, points, sizes, inside)
        if badness < least:
            best, least = boxes, badness
    return best


def leader(point: Point, box: Box) -> Line | None:
    """Return the line from a point to its label, if that is far away."""
    to = box.nearest(*point)
    return (point, to) if dist(point, to) > 2 * MARK else None


def _placed(
    order: Sequence[int], points: Sequence[Point], sizes: Sequence[Point], inside: Box
) -> tuple[list[Box | None], float]:
    """Return the boxes of labels that are placed in some order, and how bad that is."""
    marks = [Box(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in points]
    boxes: list[Box | None] = [None] * len(points)
    lines: list[Line] = []
    badness = 0.0
    for i in order:
        labels = [box for box in boxes if box]
        others = [mark for mark in marks if not mark.meets(marks[i])]
        # Rather than be missing, a label has a leader that crosses marks, or even another label.
        for most, clear, crossed, bad in (
            (_NEAR, lines, {*labels, *others}, 0.0),
            (_NEAR, lines, {*labels}, _CROSSING / 4),
            (_FAR, [], set[Box](), _CROSSING),
        ):
            taken = {*labels, *marks}
            around = _around(points[i], sizes[i], inside, most)
            box = next((b for b in around if _free(points[i], b, taken, clear, crossed)), None)
            if box:
                boxes[i] = box
                if line := leader(points[i], box):
                    lines.append(line)
                    badness += bad + dist(*line)
                break
        else:
            badness += _MISSING
    return boxes, badness


def _free(
    point: Point, box: Box, taken: set[Box], lines: Sequence[Line], crossed: set[Box]
) -> bool:
    """Return whether a label is clear of others and of *lines*, and its leader of *crossed*."""
    if any(box.meets(other, _GAP) for other in taken) or any(map(box.cut_by, lines)):
        return False
    line = leader(point, box)
    return not (line and any(other.cut_by(line) for other in crossed))


def _around(point: Point, size: Point, inside: Box, most: int) -> Iterator[Box]:
    """Yield boxes around a point, the nearest first, until they are *most* (px) away."""
    (x, y), (width, height) = point, size
    for away in range(0, most, 7):
        reach = MARK + _GAP + 1 + away
        for turn in _TURNS:
            dx, dy = cos(turn * pi / 8), sin(turn * pi / 8)
            left = x + dx * (reach + width / 2) - width / 2
            top = y + dy * (reach + height / 2) - height / 2
            box = Box(left, top, left + width, top + height)
            if box == box.within(inside):
                yield box
