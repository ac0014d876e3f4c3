"""Print the oldest releases that an installed distribution claims to work with, for pip.

    python .ci/oldest.py celery-middle-management

Requirements of extras are left out.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import requires

_AT_LEAST = re.compile(r"^(?P<name>[\w.-]+)[^;]*>=\s*(?P<version>[\w.]+)[^;]*$")


def oldest(distribution: str) -> dict[str, str]:
    found = filter(None, map(_AT_LEAST.match, requires(distribution) or ()))
    return {match["name"]: match["version"] for match in found}


if __name__ == "__main__":
    for name, release in oldest(sys.argv[1]).items():
        print(f"{name}=={release}")
