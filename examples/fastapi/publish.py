"""Publish tasks by requests to a web server, and stop it right after them, as a deploy does."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request


def post(url: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(url, method="POST")):
        pass


def wait_for(server: subprocess.Popen[bytes], url: str) -> None:
    while server.poll() is None:
        try:
            urllib.request.urlopen(url).close()
        except urllib.error.URLError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the web server did not start")


def main(count: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["uvicorn", "web:web", "--port", str(port), "--log-level", "warning"]
    with subprocess.Popen([sys.executable, "-m", *command]) as server:
        wait_for(server, f"http://127.0.0.1:{port}/docs")
        for number in range(1, count + 1):
            post(f"http://127.0.0.1:{port}/resize/image-{number}.png")
        server.terminate()
    print(f"published {count} tasks, and the web server has ended ({server.returncode})")


if __name__ == "__main__":
    main(int(sys.argv[1]))
