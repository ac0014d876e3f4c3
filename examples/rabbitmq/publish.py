"""Publish some tasks and end."""

from __future__ import annotations

from tasks import rotate

if __name__ == "__main__":
    for number in range(1, 7):
        rotate.delay(f"image-{number}.png")
    print("published 6 tasks")
