"""Celery's own test suites, with this package and without: what it changes for Celery shows there.

``python -m tests.celery_suites`` takes the sdist of the installed Celery from the package index,
makes an environment with what that release's tests need, and runs its ``t/unit`` and
``t/integration`` three ways:

- *plain*: without the package,
- *imported*: with the package installed and imported, and enabled for no app,
- *enabled*: enabled for every app of every process, by the environment; the emulator is Heroku.

It then compares the outcomes test by test. The files of tests that differ are run again each way,
to tell those apart that fail now and then by themselves. It needs a redis-server, and takes about
an hour on two cores.
"""
