"""Publish some tasks and end; from then on, the workers themselves hire and fire."""

from __future__ import annotations

from tasks import rotate

if __name__ == "__main__":
    for number in range(1, 7):
        rotate.delay(f"image-{number}.png")
        print(f"published: rotate image-{number}.png")
