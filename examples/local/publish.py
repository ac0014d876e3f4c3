"""Publishes some tasks and ends; what hires and fires the workers then are the workers."""

from __future__ import annotations

from tasks import rotate

if __name__ == "__main__":
    for number in range(1, 7):
        rotate.delay(f"image-{number}.png")
        print(f"published: rotate image-{number}.png")
