"""The live page in Django's admin: add this package to ``INSTALLED_APPS``.

The admin's index then has a section of its own. Its panel shows the workers, the tasks and what is
wrong, and leads to the live page. Both are part of the admin's site, so that nothing is ever served
without the admin's login.
"""
