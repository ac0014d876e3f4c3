"""Celery's own test suites, with this package and without, to show what it changes for Celery.

``python -m tests.celery_suites`` gets the sdist of the installed Celery from the package index,
makes an environment with the requirements of that release's tests, and runs its ``t/unit`` and
``t/integration`` in three ways:

- *plain*: without the package,
- *imported*: with the package installed and imported, but enabled for no app,
- *enabled*: enabled for every app of every process by the environment, with an emulated Heroku.

It then compares the outcomes test by test. The files of tests that differ are run again in each
way, to recognize flaky tests. It needs a redis-server, and takes about an hour on two cores.
"""
