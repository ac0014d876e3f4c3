"""The everyday app, with the methods of the worker's parts that ``$BROKEN`` names raising."""

from __future__ import annotations

import os
from typing import NoReturn

from celery_middle_management.working import worker

from .everyday import app, work

__all__ = ["app", "work"]


def _fail(*_: object, **__: object) -> NoReturn:
    raise LookupError("broken")


for _name in os.environ["BROKEN"].split():
    _class, _, _method = _name.partition(".")
    assert _method in vars(getattr(worker, _class)), _name
    setattr(getattr(worker, _class), _method, _fail)
