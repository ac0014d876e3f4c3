"""The sdist of the installed Celery, and a Python environment for its tests."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import venv
from importlib import metadata
from pathlib import Path

from tests.servers import ROOT

PACKAGE = "celery_middle_management"
#: The requirements, among those in Celery's sdist, of the tests that we run.
_REQUIREMENTS = ("test.txt", "test-integration.txt", "test-ci-base.txt")


class Environment:
    """Use *directory*, and what an earlier run has made there."""

    def __init__(self, directory: Path) -> None:
        self.version = metadata.version("celery")
        self.python = directory / "environment" / "bin" / "python"
        #: The directory that is put on the path to have our package installed.
        self.ours = directory / "ours"
        self.suites = directory / "suites"
        self._directory = directory
        self._ready = directory / "ready"

    def make(self) -> None:
        """Get and install everything."""
        self._install_ours()
        if self._ready.exists() and self._ready.read_text() == self.version:
            return
        source = self._unpack()
        shutil.rmtree(self.suites, ignore_errors=True)
        self.suites.mkdir()
        # Without the source package beside them: the tests must import the installed Celery.
        for name in ("t", "pyproject.toml", "setup.cfg"):
            shutil.move(source / name, self.suites)
        venv.create(self._directory / "environment", with_pip=True, clear=True)
        self._pip("install", *self._requirements(source))
        self._ready.write_text(self.version)

    def _unpack(self) -> Path:
        options = ("--no-binary", ":all:", "--no-deps", "--dest", str(self._directory))
        _run(sys.executable, "-m", "pip", "download", "-q", *options, f"celery=={self.version}")
        with tarfile.open(self._directory / f"celery-{self.version}.tar.gz") as sdist:
            sdist.extractall(self._directory, filter="data")
        return self._directory / f"celery-{self.version}"

    def _requirements(self, source: Path) -> list[str]:
        """Install Celery as here, its tests' requirements, and ours, but not our package."""
        files = [f"-r{source}/requirements/{name}" for name in _REQUIREMENTS]
        same = [f"{name}=={metadata.version(name)}" for name in ("celery", "kombu", "redis")]
        needed = metadata.requires("celery-middle-management") or []
        own = [need for need in needed if "extra ==" not in need]
        return [*files, *same, *(n for n in own if not re.match(r"(celery|redis)\W", n))]

    def _install_ours(self) -> None:
        """Install our package beside the environment, so that a run may have it or not."""
        source = self._directory / "source"
        for old in (self.ours, source):
            shutil.rmtree(old, ignore_errors=True)
        # A copy, because a build leaves files behind that the next one would install too.
        shutil.copytree(ROOT / PACKAGE, source / PACKAGE)
        for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, source)
        options = ("--no-deps", "--target", str(self.ours))
        _run(sys.executable, "-m", "pip", "install", "-q", *options, str(source))

    def _pip(self, *arguments: str) -> None:
        _run(str(self.python), "-m", "pip", "-q", *arguments)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
