"""Publish tasks of both kinds, and end."""

from __future__ import annotations

from tasks import film, thumbnail

if __name__ == "__main__":
    for number in range(1, 3):
        film.delay(f"film-{number}")
    for number in range(1, 41):
        thumbnail.delay(f"image-{number}.png")
    print("published 2 films and 40 thumbnails")
