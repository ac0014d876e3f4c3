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
#: What the tests of Celery need that we run, of those that its sdist has.
_REQUIREMENTS = ("test.txt", "test-integration.txt", "test-ci-base.txt")


class Environment:
    """In *directory*; what an earlier run has made there is used again."""

    def __init__(self, directory: Path) -> None:
        self.version = metadata.version("celery")
        self.python = directory / "environment" / "bin" / "python"
        #: What is put on the path to have our package installed.
        self.ours = directory / "ours"
        self.suites = directory / "suites"
        self._directory = directory
        self._ready = directory / "ready"

    def make(self) -> None:
        """Get and install all that is needed."""
        self._install_ours()
        if self._ready.exists() and self._ready.read_text() == self.version:
            return
        source = self._unpack()
        shutil.rmtree(self.suites, ignore_errors=True)
        self.suites.mkdir()
        # Without the package beside them: the tests are of the Celery that is installed.
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
        """Celery as it is here, what its tests need, and what we need, all but ourselves."""
        files = [f"-r{source}/requirements/{name}" for name in _REQUIREMENTS]
        same = [f"{name}=={metadata.version(name)}" for name in ("celery", "kombu", "redis")]
        needed = metadata.requires("celery-middle-management") or []
        own = [need for need in needed if "extra ==" not in need]
        return [*files, *same, *(n for n in own if not re.match(r"(celery|redis)\W", n))]

    def _install_ours(self) -> None:
        """Beside the environment, for a run to have it or not."""
        source = self._directory / "source"
        for old in (self.ours, source):
            shutil.rmtree(old, ignore_errors=True)
        # A copy, for a build leaves files behind, which the next one would install as well.
        shutil.copytree(ROOT / PACKAGE, source / PACKAGE)
        for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, source)
        options = ("--no-deps", "--target", str(self.ours))
        _run(sys.executable, "-m", "pip", "install", "-q", *options, str(source))

    def _pip(self, *arguments: str) -> None:
        _run(str(self.python), "-m", "pip", "-q", *arguments)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
