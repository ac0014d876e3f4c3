"""``python -m celery_middle_management.demo``: watch workers being hired and fired, in a minute.

The Redis server, the Celery app and its workers are real. They run on this machine and are gone
afterwards.
"""

import sys

if sys.platform == "win32":
    sys.exit("The demo needs Linux or macOS; on Windows, run it in WSL.")
