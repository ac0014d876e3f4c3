"""``python -m celery_middle_management.demo``: watch workers being hired and fired, in a minute.

A Redis server, a Celery app and its workers: all real, all on this machine,
and all gone afterwards.
"""

import sys

if sys.platform == "win32":
    sys.exit("The demo needs Linux or macOS; on Windows, run it in WSL.")
