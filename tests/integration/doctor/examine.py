"""Run `mm doctor` on a stage, and read what it finds."""

from __future__ import annotations

import json
import subprocess

from tests.integration.stage import ROOT, Stage

#: Runs the `celery` command itself, with its exit status.
RUN = """
from celery.bin.celery import celery
celery.params[0].default = app
celery.main(args=["mm", "doctor", "--json"])
"""
Findings = dict[str, list[dict[str, str]]]


def doctor(on: Stage, conf: str = "", **env: str) -> tuple[Findings, int]:
    """Its findings by check, and its exit status; the code *conf* runs on the app before."""
    done = subprocess.run(
        on._command(f"{conf}\n{RUN}"),
        env=on._environment(env),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.stdout, done.stderr
    findings: Findings = {}
    for finding in json.loads(done.stdout):
        findings.setdefault(finding["check"], []).append(finding)
    return findings, done.returncode


def wrong(on: Stage, check: str, level: str, said: str, conf: str = "", **env: str) -> None:
    """Assert that the check finds it and gives a remedy, and that no other check fails."""
    findings, status = doctor(on, conf, **env)
    [found] = [f for f in findings[check] if f["level"] == level and said in f["what"] + f["mend"]]
    assert found["mend"]
    assert status == (level == "failure")
    failed = {f["check"] for each in findings.values() for f in each if f["level"] == "failure"}
    assert failed <= {check}
