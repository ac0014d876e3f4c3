"""Hire a worker for one task of examples/heroku, in an environment that has only the package.

    newest/bin/python .ci/hire_once.py clean/bin/python

The emulated Heroku and the Redis come from this tree; the app's processes see nothing of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from celery_middle_management.demo.redis_server import RedisServer  # noqa: E402
from tests.emulator import HerokuEmulator  # noqa: E402

WORKER = ("-m", "celery", "-A", "tasks", "worker", "--concurrency", "1", "--loglevel", "INFO")
PUBLISH = "import tasks; tasks.send_email.delay(1, 0)"
DONE = "e-mail 1 is on its way"


def main(python: str) -> None:
    with tempfile.TemporaryDirectory() as app, RedisServer() as redis:
        shutil.copy(ROOT / "examples/heroku/tasks.py", app)
        env = {
            "REDIS_URL": redis.url,
            "MIDDLE_MANAGEMENT_HEROKU_APP": "myapp",
            "MIDDLE_MANAGEMENT_HEROKU_API_KEY": "emulated-key",
            "MIDDLE_MANAGEMENT_MAX_WORKERS": "1",
            "MIDDLE_MANAGEMENT_CALL_INTERVAL": "1",
        }
        with HerokuEmulator(command=(python, *WORKER), env=env, cwd=app, log_dir=app) as heroku:
            env["MIDDLE_MANAGEMENT_HEROKU_API_URL"] = heroku.url
            dyno = {**os.environ, **env, "DYNO": "web.1"}
            subprocess.run([python, "-c", PUBLISH], cwd=app, env=dyno, check=True)
            give_up = time.monotonic() + 60.0
            while (heroku.quantities()["worker"], DONE in logs(app)) != (0, True):
                if time.monotonic() > give_up:
                    sys.exit(f"{heroku.changes}\n{logs(app)}")
                time.sleep(0.1)
            print(*(f"{change.before} -> {change.after}" for change in heroku.changes), sep=", ")


def logs(directory: str) -> str:
    return "".join(path.read_text() for path in Path(directory).glob("*.log"))


if __name__ == "__main__":
    main(sys.argv[1])
