"""The page's own files and BokehJS, as they are sent."""

from __future__ import annotations

import gzip
import hashlib
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

_OURS = Path(__file__).with_name("static")
#: Where the package bokeh has its scripts, and those of them that the page uses.
_BOKEH, _SCRIPTS = Path("server", "static", "js"), ("bokeh.min.js", "bokeh-api.min.js")
_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Asset:
    """One file."""

    def __init__(self, path: Path) -> None:
        self.plain = path.read_bytes()
        self.type = _TYPES[path.suffix]

    @cached_property
    def packed(self) -> bytes:
        """The file, compressed."""
        return gzip.compress(self.plain, mtime=0)


class Assets:
    """All files, by name."""

    def __init__(self) -> None:
        ours = (path for path in _OURS.iterdir() if path.suffix in _TYPES)
        self._files = {path.name: Asset(path) for path in sorted((*ours, *_bokeh()))}
        digest = hashlib.blake2b(digest_size=9)
        for name, asset in self._files.items():
            digest.update(name.encode() + asset.plain)
        #: Names this version of them all, in addresses that browsers may keep for ever.
        self.version = digest.hexdigest()
        self.template = _OURS.joinpath("page.html").read_text(encoding="utf-8")

    def named(self, name: str) -> Asset | None:
        """The file of this name; None if there is none."""
        return self._files.get(name)


def _bokeh() -> list[Path]:
    """The paths of BokehJS, found without importing Bokeh, which takes long."""
    found = find_spec("bokeh")
    root = Path(found.origin or "").parent if found else Path()
    return [root / _BOKEH / name for name in _SCRIPTS]
