"""A stand-in for the package bokeh, which takes long to install, where it is not installed."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.fixture
def plotting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> bool:
    """Let the page find scripts to serve, also in new processes; True if they are BokehJS."""
    if find_spec("bokeh") is not None:
        return True
    scripts = tmp_path / "bokeh" / "server" / "static" / "js"
    scripts.mkdir(parents=True)
    for name in ("bokeh.min.js", "bokeh-api.min.js"):
        scripts.joinpath(name).write_text("// a stand-in\n")
    tmp_path.joinpath("bokeh", "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    return False
